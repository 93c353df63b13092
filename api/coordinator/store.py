"""The coordinator's hands: the database, the blobs, and the workloads of the jobs it works on."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine, select

from api.blobs import Blobs, blobs_of
from api.db import journal
from api.db.session import engine_of, reading
from api.db.tables import Job
from api.services import job_rows, room, safekeeping
from api.settings import Settings, settings
from fedkrso_core.device import prepare_process
from fedkrso_core.global_model import StateRef
from fedkrso_core.payload import Payload, decode
from fedkrso_core.spec import JobSpec
from fedkrso_core.workload import Workload

_KEPT_WORKLOADS = 2


class Store:
    """Made once per process: models are expensive to load."""

    def __init__(self) -> None:
        self.settings: Settings = settings()
        self.engine: Engine = engine_of(self.settings.database)
        self.blobs: Blobs = blobs_of(self.settings)
        self.adopt_at = 0.0  # when the store of blobs is listed next
        self._device = prepare_process()
        self._workloads: OrderedDict[str, Workload] = OrderedDict()

    def workload(self, job: Job) -> Workload:
        """The job's data and model; the least recently used one makes room."""
        if job.id not in self._workloads:
            spec = JobSpec.model_validate(job.spec)
            job_rows.place(self.blobs, spec.data)
            made = Workload(spec, self._folder(job.id), self._device)
            made.require_data(job.data_sha256)
            made.require_base(job.base_sha256)
            self._workloads[job.id] = made
            if len(self._workloads) > _KEPT_WORKLOADS:
                self.forget(next(iter(self._workloads)))
        self._workloads.move_to_end(job.id)
        return self._workloads[job.id]

    def forget(self, job_id: str) -> None:
        """Frees a job's model and its dense snapshots."""
        self._workloads.pop(job_id, None)
        shutil.rmtree(self._folder(job_id), ignore_errors=True)

    def forget_deleted(self) -> None:
        """Frees what is kept of jobs and uploads that are not there any more."""
        job_rows.forget_deleted(self.engine)
        here = {folder.name for folder in self._folder("").glob("*")} | set(self._workloads)
        if not here:
            return
        with reading(self.engine) as session:
            known = set(session.scalars(select(Job.id).where(Job.id.in_(here))))
        for job_id in here - known:
            self.forget(job_id)

    def _folder(self, job_id: str) -> Path:
        return self.settings.home / "coordinator" / job_id

    def keep(self, encoded: bytes) -> safekeeping.Kept:
        """Makes a blob of the bytes; NoRoom if the disk is full."""
        try:
            return safekeeping.put(self.engine, self.blobs, encoded)
        except OSError as error:
            if room.is_full(error):
                raise room.NoRoom(len(encoded)) from error
            raise

    def payload(self, digest: str) -> Payload:
        """A blob, decoded."""
        return decode(self.blobs.read(digest))

    def chain(self, job_id: str, number: int) -> list[StateRef]:
        """The journal of states 0 to `number`."""
        with reading(self.engine) as session:
            found = journal.since(session, job_id, 0)
        return [self.state_ref(r.digest) for r in found if r.number <= number and r.digest]

    def state_ref(self, digest: str) -> StateRef:
        """A state that lies in the blobs."""
        return StateRef(digest, lambda: self.payload(digest))


def rounds_ledger(outs: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Rounds as lines of rounds.jsonl: just what `fedkrso run` writes."""
    names = (
        "round",
        "metrics",
        "bytes_up",
        "bytes_down",
        "peak_memory_bytes",
        "seconds",
        "clients",
        "staleness",
    )
    return [{name: out[name] for name in names} for out in outs]
