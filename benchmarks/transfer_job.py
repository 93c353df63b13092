"""A service's state folder with a job in which many clients are about to hand in 200 MB."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from sqlalchemy.orm import Session

from api.blobs import FolderBlobs
from api.db import migrate
from api.db.session import engine_of, writing
from api.db.tables import Assignment, Client, Job, Round
from api.services import keys, safekeeping
from fedkrso_core.expect import Expected, Group
from fedkrso_core.method import Update, pack
from fedkrso_core.payload import Payload
from fedkrso_core.spec import JobSpec

TOKEN, KEY = "lease-of-the-benchmark", "fk_worker_benchmark"
ROWS = 100


@dataclass
class Prepared:
    """Where the files are, and which assignments wait for an upload."""

    home: Path
    update: Path
    update_digest: str
    state_digest: str
    fetching: str = "fetching"
    assignments: list[str] = field(default_factory=list)


def prepare(home: Path, mb: int, uploads: int) -> Prepared:
    """Writes the update, the state and the rows."""
    numbers = torch.randn(mb * 1_000_000 // 4)
    update = home / "update"
    update.write_bytes(pack(Update(Payload({"w": numbers}), ROWS, {"loss": 0.5})))
    url = f"sqlite:///{home / 'fedkrso.db'}"
    migrate.upgrade(url)
    blobs = FolderBlobs(home / "blobs")
    with writing(engine_of(url)) as session:
        _add_job(session, list(numbers.shape), uploads)
    kept = safekeeping.put(engine_of(url), blobs, numbers.numpy().tobytes())
    with writing(engine_of(url)) as session:
        safekeeping.refer(session, kept)
        session.get_one(Round, ("job", 0)).digest = kept.digest
    with update.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    waiting = [f"upload-{number}" for number in range(uploads)]
    return Prepared(home, update, digest, kept.digest, assignments=waiting)


def _add_job(session: Session, shape: list[int], uploads: int) -> None:
    now = time.time()
    spec = JobSpec.model_validate({"name": "transfer", "method": {"name": "fedavg"}})
    expected = Expected(required=Group(tensors={"w": ("F32", tuple(shape))}))
    session.add(
        Job(
            id="job",
            name="transfer",
            state="running",
            spec=spec.model_dump(mode="json"),
            rounds=1,
            data_sha256="0" * 64,
            created_at=now,
        )
    )
    session.flush()
    for number, state in ((0, "closed"), (1, "collecting")):
        session.add(
            Round(
                job_id="job",
                number=number,
                state=state,
                opened_at=now,
                deadline=now + 1e6,
                expected=expected.model_dump(mode="json"),
                size=4 * shape[0],
            )
        )
    for client in range(uploads + 1):
        session.add(Client(job_id="job", client=client, num_examples=ROWS))
        session.add(
            Assignment(
                id=f"upload-{client}" if client < uploads else "fetching",
                job_id="job",
                number=1,
                client=client,
                state="leased",
                needs_from=0,
                lacks_from=0,
                lease_hash=keys.hash_of(TOKEN),
                lease_until=now + 1e6,
                created_at=now,
                hinted_at=now,
                num_examples=ROWS,
            )
        )
