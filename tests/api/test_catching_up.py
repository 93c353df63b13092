"""A client that joins late or missed rounds downloads the states that it lacks, and no others.

Or weights in place of states, where it is offered them and takes them: it ends in the same model.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from sqlalchemy import Engine, update

from api.coordinator.advance import advance
from api.db.session import writing
from api.db.tables import Round
from fedkrso_core.global_model import StateRef
from fedkrso_core.method import pack
from fedkrso_core.payload import decode
from fedkrso_core.spec import parse
from fedkrso_core.workload import Workload
from tests.api import people
from tests.api.exchange import REPORT, WORKER_KEY, submit
from worker.own_rows import OwnRows

pytestmark = [pytest.mark.slow]
Json = dict[str, Any]
ROUNDS, JOINS, MISSES = 30, 20, range(21, 26)


class Participant:
    """A client that keeps what it was sent and notes what it downloaded in each round."""

    def __init__(
        self,
        http: TestClient,
        key: str,
        folder: Path,
        rows: OwnRows | None,
        takes_checkpoints: bool = False,
    ) -> None:
        self.http, self._bearer, self._folder, self._rows = http, people.bearer(key), folder, rows
        self._takes_checkpoints = takes_checkpoints
        self._states: dict[str, bytes] = {}
        self._checkpoint: tuple[int, bytes] | None = None
        self.downloaded: dict[int, list[int]] = {}
        self.bytes_down = 0
        self.digest = ""
        self._workload: Workload | None = None

    def take_part(self) -> int:
        """One assignment from claim to upload; its round."""
        claimed = self.http.post(
            "/v1/assignments/claim", json={"worker": "w"}, headers=self._bearer
        )
        assert claimed.status_code == 200, claimed.text
        work = claimed.json()
        if work["checkpoint"] is not None and self._takes_checkpoints:
            self._checkpoint = work["checkpoint"]["round"], self._download(work, work["checkpoint"])
        chain = [self._fetched(work, state) for state in work["states"]]
        workload = self._workload or self._load(work)
        workload.global_model.materialize(chain)
        self.digest = workload.global_model.sha256()
        update_ = workload.train(chain, work["client"], work["round"]).update
        body = pack(update_)
        headers = {**self._bearer, "X-Lease-Token": work["lease_token"]}
        headers["X-Content-SHA256"] = hashlib.sha256(body).hexdigest()
        url = f"/v1/assignments/{work['id']}/update"
        answer = self.http.put(url, content=body, params=REPORT, headers=headers)
        assert answer.status_code == 200, answer.text
        return int(work["round"])

    def _fetched(self, work: Json, state: Json) -> StateRef:
        digest, number = state["digest"], state["round"]
        last, weights = self._checkpoint or (-1, b"")
        if state["lacking"] and number > last:
            self._states[digest] = self._download(work, state)
            self.downloaded.setdefault(work["round"], []).append(number)
        checkpoint = (lambda: decode(weights)) if number == last else None
        return StateRef(digest, lambda: decode(self._states[digest]), checkpoint)

    def _download(self, work: Json, blob: Json) -> bytes:
        headers = {**self._bearer, "X-Lease-Token": work["lease_token"]}
        url = f"/v1/assignments/{work['id']}/blobs/{blob['digest']}"
        body = self.http.get(url, headers=headers).content
        assert len(body) == blob["size"]
        self.bytes_down += len(body)
        return body

    def _load(self, work: Json) -> Workload:
        spec = parse(work["spec"])
        own = self._rows and self._rows.shares(spec, work["labels"], work["client"])
        self._workload = Workload(spec, self._folder, torch.device("cpu"), own)
        return self._workload


@pytest.mark.parametrize("weights", [False, True], ids=["journal", "checkpoint"])
def test_a_client_that_joins_at_round_20_and_misses_5_has_the_model_of_everybody(
    client: TestClient,
    engine: Engine,
    tiny_job: Callable[..., Json],
    tiny_files: Path,
    tmp_path: Path,
    weights: bool,
) -> None:
    clients = {"simulated": 1, "external": {"min": 1, "max": 2}, "min_clients": 2}
    local = {"steps": 1, "batch_size": 4, "max_length": 8, "lr": 0.01}
    job = submit(
        client, tiny_job(clients=clients, rounds=ROUNDS, local=local, evaluate={"every": ROUNDS})
    )
    rows = OwnRows(tiny_files / "rows.jsonl", "text", "label")
    keys = {name: people.external(engine, name).key for name in ("early", "late")}

    def join(name: str) -> None:
        path, headers = f"/v1/client/jobs/{job}/join", people.bearer(keys[name])
        answer = client.post(path, json={"num_examples": 44}, headers=headers)
        assert answer.status_code == 200, answer.text
        advance(job)

    worker = Participant(client, WORKER_KEY, tmp_path / "worker", None)
    early = Participant(client, keys["early"], tmp_path / "early", rows)
    late = Participant(client, keys["late"], tmp_path / "late", rows, weights)
    advance(job)
    join("early")
    for number in range(1, ROUNDS + 1):
        assert {worker.take_part(), early.take_part()} == {number}
        if number == JOINS - 1:
            join("late")
        if number in MISSES:
            deadline_passes(engine, job, number)
        elif number >= JOINS:
            assert late.take_part() == number
        advance(job)
        assert worker.digest == early.digest
        if number >= JOINS and number not in MISSES:
            assert late.digest == early.digest
    found = client.get(f"/v1/jobs/{job}").json()
    assert (found["state"], found["rounds_closed"]) == ("done", ROUNDS)
    if weights:  # in place of all but the newest
        assert late.downloaded[JOINS] == [JOINS - 1]
        assert late.downloaded[MISSES.stop] == [MISSES.stop - 1]
    else:
        assert late.downloaded[JOINS] == list(range(JOINS))
        assert late.downloaded[MISSES.stop] == [JOINS, *MISSES]
    assert all(late.downloaded[n] == [n - 1] for n in range(MISSES.stop + 1, ROUNDS + 1))
    assert shown_bytes(client, job, 2) == late.bytes_down


def deadline_passes(engine: Engine, job: str, number: int) -> None:
    with writing(engine) as session:
        where = (Round.job_id == job, Round.number == number)
        session.execute(update(Round).where(*where).values(deadline=time.time() - 1))


def shown_bytes(http: TestClient, job: str, number: int) -> int:
    """What the service says that a client downloaded."""
    total = 0
    for round_ in range(1, ROUNDS + 1):
        seats = http.get(f"/v1/jobs/{job}/rounds/{round_}/clients").json()["items"]
        total += sum(seat["bytes_down"] for seat in seats if seat["client"] == number)
    return total
