"""A blob folder on a disk that is really full: nothing is lost, and the job goes on by itself."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from fastapi.testclient import TestClient
from safetensors import SafetensorError
from safetensors.torch import save_file

from api.assignment_schemas import AssignmentOut
from api.services import jobs, life, room
from api.settings import Settings
from tests.api.exchange import as_worker
from tests.api.house import House, toy_update
from tests.api.process import forget

SIZE = "256k"


@pytest.fixture
def disk(settings: Settings) -> Iterator[Path]:
    """The blob folder as a small disk of its own, before anything is written to it."""
    folder = settings.blob_folder
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a disk cannot be mounted here: {mounted.stderr.strip()}")
    settings.keep_free_bytes = 0
    yield folder
    forget()
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def house(disk: Path, settings: Settings, engine: Any, monkeypatch: pytest.MonkeyPatch) -> House:
    return House(settings, engine, monkeypatch)


def fill(disk: Path) -> None:
    with (disk / "ballast").open("ab") as file, suppress(OSError):
        while os.write(file.fileno(), b"x" * 4096):
            pass
    assert os.statvfs(disk).f_bavail == 0


def empty(disk: Path) -> None:
    (disk / "ballast").unlink()


def put(http: httpx.Client, seat: AssignmentOut, body: bytes, length: bool = True) -> Any:
    """Hands an update in, with or without telling its length before."""
    headers = {"X-Lease-Token": seat.lease_token, **as_worker()}
    headers["X-Content-SHA256"] = hashlib.sha256(body).hexdigest()
    return http.put(
        f"/v1/assignments/{seat.id}/update",
        content=body if length else iter([body]),
        params={"peak_memory_bytes": 1000, "train_s": 0.5},
        headers=headers,
    )


def tick(house: House) -> None:
    room.resume_where_possible(house.engine, house.settings)


def undisturbed(house: House) -> str | None:
    job_id = house.open_job(clients=2, rounds=2)
    for _ in range(2):
        house.finish_round(job_id)
    assert house.get(job_id).state == "done"
    return house.get(job_id).model_sha256


@pytest.mark.parametrize("length", [True, False])
def test_an_update_without_room_is_refused_and_accepted_when_there_is_room(
    house: House, client: TestClient, disk: Path, length: bool
) -> None:
    sha = undisturbed(house)
    job_id = house.open_job(clients=2, rounds=2)
    seat = house.claim()
    fill(disk)
    answer = put(client, seat, toy_update(), length)
    assert answer.status_code == 507
    assert answer.json()["type"] == "urn:fedkrso:problem:no-room"
    assert answer.json()["detail"].startswith("no room on the service's disk: 0 B free, ")
    job = house.get(job_id)
    assert (job.state, job.paused_by) == ("paused", "room")
    assert job.reason == answer.json()["detail"]
    # the lease is kept, and nobody else gets work
    house.heartbeat(seat)
    assert house.claim_or_none() is None
    tick(house)
    assert house.get(job_id).state == "paused"
    assert put(client, seat, toy_update(), length).status_code == 507
    assert house.count(job_id, "paused") == 1
    empty(disk)
    assert put(client, seat, toy_update(), length).status_code == 200
    tick(house)
    assert (house.get(job_id).state, house.get(job_id).reason) == ("running", None)
    for _ in range(2):
        house.finish_round(job_id)
    assert house.get(job_id).state == "done"
    assert house.get(job_id).model_sha256 == sha
    assert [seat.attempt for seat in house.seats(job_id)] == [1] * 4
    assert house.count(job_id, "update") == 4
    assert not list((disk / "parts").iterdir())


def test_a_state_that_the_coordinator_cannot_write_pauses_the_job(house: House, disk: Path) -> None:
    sha = undisturbed(house)
    job_id = house.open_job(clients=2, rounds=2)
    house.hand_in(house.claim())
    house.hand_in(house.claim(), toy_update((1.0, 2.0)))
    fill(disk)
    house.advance(job_id)
    job = house.get(job_id)
    assert (job.state, job.paused_by, job.errors) == ("paused", "room", 0)
    waiting = jobs.get(house.engine, job_id).waiting
    assert waiting[0].what.startswith("room to write (it then goes on by itself): no room")
    assert not list((disk / "parts").iterdir())
    empty(disk)
    tick(house)
    house.advance(job_id)
    house.finish_round(job_id)
    assert house.get(job_id).state == "done"
    assert house.get(job_id).model_sha256 == sha
    assert house.count(job_id, "round-closed") == 2


def test_a_job_that_cannot_even_start_waits_for_room(house: House, disk: Path) -> None:
    job_id = house.job(clients=1)
    fill(disk)
    house.advance(job_id)
    assert house.get(job_id).state == "paused"
    empty(disk)
    tick(house)
    house.advance(job_id)
    house.finish_round(job_id)
    assert house.get(job_id).state == "done"


def test_a_little_room_is_not_enough_to_go_on(house: House, disk: Path) -> None:
    job_id = house.open_job(clients=1)
    free = room.free_bytes(house.settings)
    room.pause(house.engine, house.settings, job_id, free - 4096)
    tick(house)
    assert house.get(job_id).state == "paused"
    house.set_job(job_id, room_bytes=free // 2)
    tick(house)
    assert house.get(job_id).state == "running"


def test_what_the_service_needs_itself_is_left_to_it(
    house: House, client: TestClient, disk: Path
) -> None:
    house.settings.keep_free_bytes = 10**12
    job_id = house.open_job(clients=1)
    assert put(client, house.claim(), toy_update()).status_code == 507
    assert house.get(job_id).state == "paused"


def test_a_client_that_gives_up_waiting_for_room_loses_no_attempt(house: House, disk: Path) -> None:
    job_id = house.open_job(clients=1)
    seat = house.claim()
    room.pause(house.engine, house.settings, job_id, 1)
    house.give_back(seat, "no room")
    assert (house.seat(seat.id).state, house.seat(seat.id).attempt) == ("pending", 0)


def test_a_full_disk_is_known_by_what_any_library_says_of_it(disk: Path) -> None:
    fill(disk)
    with pytest.raises(SafetensorError) as failed:
        save_file({"w": torch.zeros(10_000)}, disk / "w.safetensors")
    assert room.is_full(failed.value)
    assert not room.is_full(ValueError("no"))


def test_a_user_can_pause_a_job_that_waits_for_room(house: House, disk: Path) -> None:
    job_id = house.open_job(clients=1)
    room.pause(house.engine, house.settings, job_id, 1)
    life.pause(house.engine, job_id)
    tick(house)
    assert (house.get(job_id).state, house.get(job_id).paused_by) == ("paused", "user")


def test_whoever_has_no_lease_cannot_pause_a_job(
    house: House, client: TestClient, disk: Path
) -> None:
    job_id = house.open_job(clients=1)
    seat = house.claim().model_copy(update={"lease_token": "stolen"})
    fill(disk)
    assert put(client, seat, toy_update()).status_code == 409
    assert house.get(job_id).state == "running"
