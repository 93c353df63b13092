"""Updates and states that come in pieces, because connections break."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError
from starlette.requests import ClientDisconnect

from api.assignment_schemas import AcceptedOut, AssignmentOut, ReceivedOut, ReportIn
from api.db.session import reading
from api.db.tables import Assignment
from api.services import handing_in
from tests.api.exchange import REPORT, claim, lease, open_first_round
from tests.api.house import House, is_refused, toy_update

Json = dict[str, Any]
BODY = toy_update((2.0, 3.0))
TOTAL, DIGEST = len(BODY), hashlib.sha256(BODY).hexdigest()


def send(
    house: House, seat: AssignmentOut, piece: bytes, offset: int = 0, breaks: bool = False
) -> AcceptedOut | ReceivedOut:
    async def stream() -> AsyncIterator[bytes]:
        yield piece[: len(piece) // 2]
        yield piece[len(piece) // 2 :]
        if breaks:
            raise ClientDisconnect

    last = offset + len(piece) - 1
    where = None if breaks and not offset else f"bytes {offset}-{last}/{TOTAL}"
    return asyncio.run(
        handing_in.hand_in(
            house.engine,
            house.store.blobs,
            house.settings,
            seat.id,
            seat.lease_token,
            ReportIn(peak_memory_bytes=1000, train_s=0.5),
            None if breaks else len(piece),
            DIGEST,
            stream(),
            where,
        )
    )


def here(house: House, seat: AssignmentOut) -> int:
    blobs = house.store.blobs
    found = handing_in.received(house.engine, blobs, seat.id, seat.lease_token, DIGEST)
    return found.received


def row(house: House, seat: AssignmentOut) -> Assignment:
    with reading(house.engine) as session:
        return session.get_one(Assignment, seat.id)


def parts(house: House) -> list[str]:
    return [path.name for path in house.store.blobs.parts.folder.iterdir()]


@pytest.fixture
def seat(house: House) -> AssignmentOut:
    house.open_job()
    return house.claim()


def test_what_arrived_before_the_connection_broke_is_not_sent_again(
    house: House, seat: AssignmentOut
) -> None:
    with pytest.raises(ClientDisconnect):
        send(house, seat, BODY[:100], breaks=True)
    assert here(house, seat) == 100
    with pytest.raises(ClientDisconnect):
        send(house, seat, BODY[100:150], offset=100, breaks=True)
    assert here(house, seat) == 150
    assert send(house, seat, BODY[150:], offset=150) == AcceptedOut(digest=DIGEST, bytes_up=TOTAL)
    found = row(house, seat)
    assert (found.state, found.bytes_up, found.bytes_up_lost) == ("done", TOTAL, 0)
    assert house.store.blobs.read(DIGEST) == BODY
    assert parts(house) == []


def test_pieces_may_overlap_but_leave_no_gap(house: House, seat: AssignmentOut) -> None:
    assert send(house, seat, BODY[:100]) == ReceivedOut(received=100)
    is_refused(416, "wrong-offset", lambda: send(house, seat, BODY[120:], offset=120))
    assert send(house, seat, BODY[50:120], offset=50) == ReceivedOut(received=120)
    assert send(house, seat, BODY) == AcceptedOut(digest=DIGEST, bytes_up=TOTAL)


def test_pieces_of_something_else_are_refused_and_forgotten(
    house: House, seat: AssignmentOut
) -> None:
    send(house, seat, b"x" * 100)
    with pytest.raises(Exception, match="declared was"):
        send(house, seat, BODY[100:], offset=100)
    assert (here(house, seat), parts(house)) == (0, [])
    assert row(house, seat).bytes_up_lost == TOTAL
    assert isinstance(send(house, seat, BODY), AcceptedOut)


def test_an_update_outlives_an_outage_while_it_is_accepted(
    house: House, seat: AssignmentOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> Any:
        raise OperationalError("SELECT 1", {}, Exception("the database is away"))

    with monkeypatch.context() as patch:
        patch.setattr("api.services.handing_in.safekeeping.keep", away)
        with pytest.raises(OperationalError):
            send(house, seat, BODY)
    assert here(house, seat) == TOTAL
    assert isinstance(send(house, seat, b"", offset=TOTAL), AcceptedOut)


def test_a_request_that_hangs_cannot_change_what_a_newer_one_hands_in(
    house: House, seat: AssignmentOut
) -> None:
    """It sends garbage first, and goes on with it after the good update was accepted."""
    accepted = asyncio.Event()

    async def garbage() -> AsyncIterator[bytes]:
        yield b"x" * 100
        await accepted.wait()
        yield b"x" * (TOTAL - 100)

    async def good() -> AsyncIterator[bytes]:
        yield BODY

    def request(body: AsyncIterator[bytes]) -> Any:
        arguments = (house.engine, house.store.blobs, house.settings, seat.id, seat.lease_token)
        report = ReportIn(peak_memory_bytes=1000, train_s=0.5)
        return handing_in.hand_in(*arguments, report, TOTAL, DIGEST, body)

    async def both() -> Any:
        old = asyncio.create_task(request(garbage()))
        while not parts(house):
            await asyncio.sleep(0.01)
        new = await request(good())
        accepted.set()
        return new, await asyncio.gather(old, return_exceptions=True)

    new, (old,) = asyncio.run(both())
    assert new == AcceptedOut(digest=DIGEST, bytes_up=TOTAL)
    assert (old.status, old.kind) == (409, "conflict")
    assert house.store.blobs.read(DIGEST) == BODY
    assert parts(house) == []


def test_another_process_that_receives_it_is_waited_for(house: House, seat: AssignmentOut) -> None:
    send(house, seat, BODY[:100])
    (name,) = parts(house)
    with (house.store.blobs.parts.folder / name).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        is_refused(503, "not-ready", lambda: send(house, seat, BODY[100:], offset=100))
    assert isinstance(send(house, seat, BODY[100:], offset=100), AcceptedOut)


def test_what_was_accepted_is_known_to_be_here(house: House, seat: AssignmentOut) -> None:
    first = send(house, seat, BODY)
    assert here(house, seat) == TOTAL
    assert send(house, seat, BODY[-10:], offset=TOTAL - 10) == first
    assert row(house, seat).bytes_up_lost == 0  # not a byte was read


def test_a_full_disk_keeps_no_piece(
    house: House, seat: AssignmentOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("api.services.handing_in.safekeeping.keep", full)
    with pytest.raises(OSError, match="No space left"):
        send(house, seat, BODY)
    assert parts(house) == []


@pytest.fixture
def assignment(client: TestClient, tiny_job: Callable[..., Json]) -> Json:
    open_first_round(client, tiny_job())
    return claim(client)


def put_piece(
    client: TestClient, assignment: Json, piece: bytes, where: str, digest: str = DIGEST
) -> httpx.Response:
    headers = lease(assignment) | {"X-Content-SHA256": digest, "Content-Range": where}
    url = f"/v1/assignments/{assignment['id']}/update"
    return client.put(url, content=piece, params=REPORT, headers=headers)


def test_a_piece_over_http_is_202_until_the_last(client: TestClient, assignment: Json) -> None:
    body = b"not an update but bytes all the same"
    digest, total = hashlib.sha256(body).hexdigest(), len(body)
    answer = put_piece(client, assignment, body[:10], f"bytes 0-9/{total}", digest)
    assert (answer.status_code, answer.json()) == (202, {"received": 10})
    headers = lease(assignment) | {"X-Content-SHA256": digest}
    asked = client.get(f"/v1/assignments/{assignment['id']}/update", headers=headers)
    assert (asked.status_code, asked.json()) == (200, {"received": 10})
    answer = put_piece(client, assignment, body[20:], f"bytes 20-{total - 1}/{total}", digest)
    assert answer.status_code == 416
    assert answer.json()["detail"] == "10 bytes are here: go on from there"
    answer = put_piece(client, assignment, body[10:], f"bytes 10-{total - 1}/{total}", digest)
    assert answer.status_code == 422  # it is whole, and now it is seen what it is


@pytest.mark.parametrize(
    "where", ["10-19/20", "bytes 0-9/5", "bytes 9-5/20", "bytes 0-3/20", "bytes 0-9/*", "x" * 50]
)
def test_a_range_that_does_not_fit_is_refused(
    client: TestClient, assignment: Json, where: str
) -> None:
    answer = put_piece(client, assignment, b"0123456789", where)
    assert answer.status_code == 422
    assert "allowed: bytes FIRST-LAST/TOTAL" in answer.json()["detail"]


def test_a_whole_above_the_limit_is_refused_by_its_first_piece(
    client: TestClient, assignment: Json
) -> None:
    answer = put_piece(client, assignment, b"0123456789", f"bytes 0-9/{10**15}")
    assert answer.status_code == 413


def test_only_who_has_the_lease_is_told(client: TestClient, assignment: Json) -> None:
    headers = lease(assignment) | {"X-Content-SHA256": DIGEST, "X-Lease-Token": "other"}
    answer = client.get(f"/v1/assignments/{assignment['id']}/update", headers=headers)
    assert answer.status_code == 409


def test_the_rest_of_a_state_is_counted_once(client: TestClient, assignment: Json) -> None:
    (state,) = assignment["states"]
    url = f"/v1/assignments/{assignment['id']}/blobs/{state['digest']}"
    whole = client.get(url, headers=lease(assignment)).content
    answer = client.get(url, headers=lease(assignment) | {"Range": "bytes=10-"})
    assert answer.status_code == 206
    assert answer.content == whole[10:]
    assert answer.headers["Content-Range"] == f"bytes 10-{len(whole) - 1}/{len(whole)}"
    beyond = client.get(url, headers=lease(assignment) | {"Range": f"bytes={len(whole)}-"})
    assert beyond.status_code == 416
    job = client.get(f"/v1/jobs/{assignment['job']}").json()
    assert job["bytes_down"] == len(whole)
