"""A client that lacks much is sent the weights in place of states, over real HTTP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from api.blobs import blobs_of
from api.coordinator.advance import advance
from api.db import removal, rounds
from api.db.session import reading, writing
from api.services import collection
from api.settings import Settings
from fedkrso_core import simulate
from fedkrso_core.spec import parse
from tests.api.exchange import WORKER_KEY, claim, fetch, run_to_the_end, submit
from worker.api import Api
from worker.client import ClientProcess

pytestmark = [pytest.mark.slow]
Json = dict[str, Any]
MakeJob = Callable[..., Json]
LARGE = {"name": "fedkrso", "rank": 8, "seeds": 10, "interval": 1}  # states, beside the model
SMALL = {"name": "fedkrso", "rank": 1, "seeds": 2, "interval": 4}


@pytest.fixture
def job(tiny_job: MakeJob) -> MakeJob:
    """Jobs of six clients of which two take part in each round: all but the first come late."""

    def make(method: Json = LARGE, **changes: Any) -> Json:
        clients = {"count": 6, "per_round": 2}
        return tiny_job(clients=clients, rounds=6, method=method, **changes)

    return make


class Noted(Api):
    """Notes the bytes that the service sent."""

    def __init__(self, server: str) -> None:
        super().__init__(server, WORKER_KEY, give_up_s=5)
        self.down: dict[int, int] = {}  # by round
        self.files: dict[int, list[str]] = {}

    def download(self, assignment: Json, digest: str, target: Path, *useless: Any) -> None:
        super().download(assignment, digest, target, *useless)
        number = assignment["round"]
        self.down[number] = self.down.get(number, 0) + target.stat().st_size
        self.files.setdefault(number, []).append(target.name)


def seats_of(http: httpx.Client, job_id: str, number: int) -> list[Json]:
    return http.get(f"/v1/jobs/{job_id}/rounds/{number}/clients").json()["items"]


@pytest.mark.parametrize(("method", "some"), [(LARGE, True), (SMALL, False)], ids=["yes", "no"])
def test_whoever_is_behind_is_sent_the_fewer_bytes_and_ends_in_the_same_model(
    http: httpx.Client, server: str, job: MakeJob, tmp_path: Path, method: Json, some: bool
) -> None:
    api = Noted(server)
    worker = ClientProcess(api, tmp_path / "worker")
    job_id = submit(http, job(method))
    ended = run_to_the_end(http, worker, job_id)
    records: list[Json] = []
    summary = simulate.run(parse(job(method)), tmp_path / "run", on_round=records.append)
    assert (ended["state"], ended["model_sha256"]) == ("done", summary["model_sha256"])
    shown = http.get(f"/v1/jobs/{job_id}/rounds").json()["items"]
    forecast = [record["bytes_down"] for record in records]
    assert [row["bytes_down"] for row in shown] == forecast == list(api.down.values())
    seats = [seat for number in range(1, 7) for seat in seats_of(http, job_id, number)]
    assert any(seat["checkpoint"] is not None for seat in seats) == some
    assert all(seat["bytes_lost"] == 0 for seat in seats)
    taken = [name for names in api.files.values() for name in names if "checkpoint-" in name]
    assert len(taken) == sum(seat["checkpoint"] is not None for seat in seats)
    api.close()


def play_until_offered(http: httpx.Client, worker: ClientProcess, job_id: str) -> list[Json]:
    """Until one of a round's two clients is offered a checkpoint; both assignments, its first."""
    for _ in range(8):
        advance(job_id)
        number = http.get(f"/v1/jobs/{job_id}").json()["rounds_closed"] + 1
        if [seat["checkpoint"] is None for seat in seats_of(http, job_id, number)].count(True) == 1:
            claimed = [claim(http), claim(http)]
            return sorted(claimed, key=lambda work: work["checkpoint"] is None)
        worker.drain()
    raise AssertionError("there is no round in which one client is offered a checkpoint")


def test_a_client_may_take_the_journal_all_the_same_and_all_of_it_is_counted(
    http: httpx.Client, worker: ClientProcess, job: MakeJob
) -> None:
    job_id = submit(http, job())
    work, _ = play_until_offered(http, worker, job_id)
    offered, lacked = work["checkpoint"], [s for s in work["states"] if s["lacking"]]
    assert offered["round"] == work["round"] - 2
    assert offered["size"] < sum(s["size"] for s in lacked[:-1])
    got = [len(fetch(http, work, state["digest"]).content) for state in lacked]
    (seat,) = (s for s in seats_of(http, job_id, work["round"]) if s["client"] == work["client"])
    assert (seat["bytes_down"], seat["bytes_lost"]) == (sum(got), 0)


def test_only_who_was_offered_a_checkpoint_gets_it(
    http: httpx.Client, worker: ClientProcess, job: MakeJob
) -> None:
    work, other = play_until_offered(http, worker, submit(http, job()))
    digest = work["checkpoint"]["digest"]
    assert fetch(http, work, digest).status_code == 200
    assert fetch(http, other, digest).status_code == 404


def test_a_client_that_was_restarted_goes_on_from_its_checkpoint(
    http: httpx.Client, server: str, job: MakeJob, tmp_path: Path
) -> None:
    """With only the checkpoint and the states after it on its disk."""
    first = Noted(server)
    job_id = submit(http, job())
    play = ClientProcess(first, tmp_path / "first")
    work, other = play_until_offered(http, play, job_id)
    second = Noted(server)
    late = ClientProcess(second, tmp_path / "second")
    play.work_on(other)
    late.work_on(work)
    names = second.files[work["round"]]
    assert names[0].startswith("checkpoint-")
    assert len(names) == 2
    again = Noted(server)
    run_to_the_end(http, ClientProcess(again, tmp_path / "second"), job_id)
    assert http.get(f"/v1/jobs/{job_id}").json()["state"] == "done"
    early = {state["digest"] for state in work["states"][:-2]}
    assert early.isdisjoint(name for files in again.files.values() for name in files)
    for api in (first, second, again):
        api.close()


def test_a_checkpoint_goes_when_no_open_work_is_offered_it(
    http: httpx.Client, worker: ClientProcess, engine: Engine, settings: Settings, job: MakeJob
) -> None:
    job_id = submit(http, job())
    work, other = play_until_offered(http, worker, job_id)
    digest = work["checkpoint"]["digest"]
    blobs = blobs_of(settings)
    long_ago = -10.0  # seconds of grace: what was touched just now may go

    def collected() -> None:
        with writing(engine) as session:
            removal.forget_checkpoints(session)
        list(collection.clear(engine, blobs, long_ago))

    collected()
    assert fetch(http, work, digest).status_code == 200
    worker.work_on(work)
    worker.work_on(other)
    assert run_to_the_end(http, worker, job_id)["state"] == "done"
    collected()
    with reading(engine) as session:
        assert all(row.checkpoint_digest is None for row in rounds.all_of(session, job_id))
    with pytest.raises(FileNotFoundError):
        blobs.read(digest)
