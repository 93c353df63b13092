"""A client's round against a fake of the HTTP client: real training, scripted answers."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from fedkrso_core.expect import Expected, check_upload
from fedkrso_core.payload import encode
from fedkrso_core.spec import JobSpec
from fedkrso_core.workload import Workload
from tests.api.tiny import write_model, write_rows
from tests.worker.fake_api import FakeApi
from worker.api import LeaseLost, Refused
from worker.client import ClientProcess

Json = dict[str, Any]


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    """A tiny job's real workload, loaded once."""
    folder = tmp_path_factory.mktemp("job")
    write_model(folder / "model")
    write_rows(folder / "rows.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDKRSO_HOME", str(folder / "home"))
        spec = JobSpec.model_validate(
            {
                "name": "tiny",
                "model": str(folder / "model"),
                "data": {"train": str(folder / "rows.jsonl")},
                "partition": {"kind": "iid"},
                "clients": {"count": 2, "per_round": 2},
                "local": {"steps": 3, "batch_size": 4, "max_length": 8},
                "method": {"name": "fedkrso", "rank": 2, "seeds": 2, "interval": 2},
            }
        )
        return Workload(spec, folder / "dense", torch.device("cpu"))


@pytest.fixture
def api(workload: Workload) -> FakeApi:
    return FakeApi(encode(workload.initial_state()))


@pytest.fixture
def process(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClientProcess:
    monkeypatch.setenv("FEDKRSO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEDKRSO_THREADS", "1")
    monkeypatch.setenv("FEDKRSO_DEVICE", "cpu")
    return ClientProcess(api, tmp_path / "worker")  # type: ignore[arg-type]


@pytest.fixture
def assignment(api: FakeApi, workload: Workload) -> Callable[..., Json]:
    def make(steps: int = 3, **changed: Any) -> Json:
        spec = workload.spec.model_dump(mode="json")
        spec["local"]["steps"] = steps
        digest = hashlib.sha256(api.state).hexdigest()
        return {
            "id": "a1",
            "job": f"job-{steps}",
            "round": 1,
            "client": 0,
            "lease_token": "token-1",
            "lease_s": 0.02,
            "heartbeat_s": 0.005,
            "spec": spec,
            "data_sha256": workload.shares.sha256,
            "states": [{"round": 0, "digest": digest, "size": len(api.state), "lacking": True}],
            **changed,
        }

    return make


Make = Callable[..., Json]


def test_nothing_waits(process: ClientProcess) -> None:
    assert not process.work_once()


def test_after_an_update_a_client_waits_a_moment_for_the_next_round(
    process: ClientProcess, api: FakeApi, assignment: Make
) -> None:
    api.work = [assignment()]
    assert process.drain()
    first, *later = api.waits
    assert first == 0.0
    assert len(later) == 1
    assert later[0] > 0.0


def test_an_assignment_is_trained_and_handed_in(
    process: ClientProcess, api: FakeApi, assignment: Make, workload: Workload, tmp_path: Path
) -> None:
    api.work = [assignment()]
    assert process.work_once()
    ((_, body, report),) = api.uploads
    (tmp_path / "body").write_bytes(body)
    model, config = workload.global_model.model, workload.config
    expected: Expected = workload.method.expect(config, model, workload.initial_state())
    header = check_upload(tmp_path / "body", expected, len(workload.shares.rows[0]))
    assert header.scalars["metrics"]["loss"] > 0
    assert report["peak_memory_bytes"] > 0
    assert report["train_s"] > 0
    assert api.given_back == []


def test_the_same_assignment_gives_the_same_bytes(
    process: ClientProcess, api: FakeApi, assignment: Make
) -> None:
    api.work = [assignment(), assignment(client=1), assignment()]
    process.drain()
    first, other, again = [body for _, body, _ in api.uploads]
    assert first == again != other


def test_a_state_that_was_sent_before_is_not_fetched_again(
    process: ClientProcess, api: FakeApi, assignment: Make
) -> None:
    first, second = assignment(), assignment()
    second["states"][0]["lacking"] = False
    api.work = [first, second]
    process.drain()
    assert len(api.downloads) == 1
    assert len(api.uploads) == 2


def test_a_state_that_this_machine_lost_is_fetched_again(
    process: ClientProcess, api: FakeApi, assignment: Make
) -> None:
    known = assignment()
    known["states"][0]["lacking"] = False
    api.work = [known]
    process.drain()
    assert len(api.downloads) == 1


def test_a_process_that_is_stopped_gives_its_assignment_back(
    process: ClientProcess, api: FakeApi, assignment: Make
) -> None:
    steps_seen = []

    def stop(step: int) -> None:
        steps_seen.append(step)
        process.stop.set()  # what SIGTERM does

    api.on_heartbeat = stop
    api.work = [assignment(steps=5000), assignment()]
    process.drain()
    assert api.given_back == [f"{process.name} is stopping"]
    assert api.uploads == []
    assert len(api.work) == 1
    assert steps_seen[-1] < 4000


def test_a_lost_lease_ends_the_training_at_the_next_step(
    process: ClientProcess, api: FakeApi, assignment: Make
) -> None:
    def lost(step: int) -> None:
        raise LeaseLost("another lease")

    api.on_heartbeat = lost
    api.work = [assignment(steps=5000)]
    assert process.work_once()
    assert api.uploads == []
    assert api.given_back == []


def test_a_heartbeat_that_does_not_arrive_is_no_reason_to_stop(
    process: ClientProcess, api: FakeApi, assignment: Make, caplog: pytest.LogCaptureFixture
) -> None:
    failed = threading.Event()

    def away(step: int) -> None:
        failed.set()
        raise httpx.ConnectError("nobody there")

    api.on_heartbeat = away
    api.work = [assignment(steps=100)]
    process.drain()
    assert failed.is_set()
    assert len(api.uploads) == 1


def test_heartbeats_tell_the_step(process: ClientProcess, api: FakeApi, assignment: Make) -> None:
    seen: list[int] = []
    api.on_heartbeat = seen.append
    api.work = [assignment(steps=100)]
    process.drain()
    assert seen == sorted(seen)
    assert 0 < seen[-1] <= 100


def test_other_data_gives_the_assignment_back_with_the_reason(
    process: ClientProcess, api: FakeApi, assignment: Make
) -> None:
    api.work = [assignment(data_sha256="f" * 64)]
    process.drain()
    (reason,) = api.given_back
    assert "the job was submitted with ffffffffffff" in reason
    assert reason.endswith("give all machines the same data")
    assert api.uploads == []


def test_data_that_is_not_there_gives_the_assignment_back_with_the_reason(
    process: ClientProcess, api: FakeApi, assignment: Make
) -> None:
    lost = assignment()
    lost["spec"]["data"]["train"] = "/nowhere/rows.csv"
    api.work = [lost]
    process.drain()
    assert api.given_back == ["data.train: there is no file /nowhere/rows.csv"]


@pytest.mark.parametrize(
    ("error", "given_back"),
    [
        (Refused("tensor 'x' is not part of this round's update"), ["tensor 'x' is not part"]),
        (LeaseLost("another lease"), []),
        (RuntimeError("boom"), ["RuntimeError: boom"]),
    ],
)
def test_an_update_that_cannot_be_handed_in_ends_the_assignment(
    process: ClientProcess, api: FakeApi, assignment: Make, error: Exception, given_back: list[str]
) -> None:
    def fail() -> None:
        raise error

    api.on_upload = fail
    api.work = [assignment()]
    process.drain()
    assert [reason[: len(given_back[0])] for reason in api.given_back] == given_back


def test_the_model_stays_loaded_for_the_next_assignment_of_a_job(
    process: ClientProcess, api: FakeApi, assignment: Make
) -> None:
    api.work = [assignment(), assignment(client=1)]
    process.work_once()
    kept = process._loaded
    process.work_once()
    assert process._loaded is kept
    api.work = [assignment(steps=2)]
    process.work_once()
    assert process._loaded is not kept


def test_snapshots_of_dead_processes_are_removed(tmp_path: Path, api: FakeApi) -> None:
    dead = tmp_path / "worker" / "dense" / "999999999"
    dead.mkdir(parents=True)
    ClientProcess(api, tmp_path / "worker")  # type: ignore[arg-type]
    assert not dead.exists()


def test_states_that_nobody_used_for_a_week_are_removed(tmp_path: Path, api: FakeApi) -> None:
    old, fresh = (tmp_path / "worker" / "states" / name for name in ("old", "fresh"))
    for folder in (old, fresh):
        folder.mkdir(parents=True)
    week_ago = time.time() - 8 * 24 * 3600
    os.utime(old, (week_ago, week_ago))
    ClientProcess(api, tmp_path / "worker")
    assert not old.exists()
    assert fresh.exists()


def test_a_service_that_was_away_too_long_gets_its_assignment_back(
    process: ClientProcess, api: FakeApi, assignment: Make
) -> None:
    def away() -> None:
        raise httpx.ConnectError("connection refused")

    api.on_upload = away
    api.work = [assignment()]
    process.drain()
    assert len(api.given_back) == 1
    assert "connection refused" in api.given_back[0]


def test_no_further_assignment_is_begun_when_patience_is_over(
    process: ClientProcess, api: FakeApi, assignment: Make
) -> None:
    api.work = [assignment(), assignment(client=1)]
    assert not process.drain(patience_s=0.0)
    assert len(api.uploads) == 1
    assert process.drain()
    assert len(api.uploads) == 2
