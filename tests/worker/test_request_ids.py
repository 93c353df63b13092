"""A client's lines and those of the API about the same assignment can be joined."""

from __future__ import annotations

from pathlib import Path

from telemetry import facts
from tests.worker.fake_service import FakeService, ok
from worker.api import Api
from worker.client import ClientProcess

HEADER = "x-request-id"
ASSIGNMENT = {
    "id": "a1",
    "job": "j1",
    "round": 1,
    "client": 4,
    "lease_token": "secret",
    "lease_s": 0.02,
    "heartbeat_s": 0.005,
    "states": [{"digest": "0" * 64, "lacking": True}],
    "spec": {},
    "data_sha256": "",
}


def ids(service: FakeService) -> list[str | None]:
    return [
        {name.lower(): value for name, value in asked.headers.items()}.get(HEADER)
        for asked in service.asked
    ]


def test_requests_bear_the_id_of_the_work_at_hand(service: FakeService, api: Api) -> None:
    service.gives(ok())
    with facts.about(request_id="work-1"):
        api.heartbeat(ASSIGNMENT, 1)
    api.heartbeat(ASSIGNMENT, 2)
    assert ids(service) == ["work-1", None]


def test_all_requests_about_an_assignment_have_one_id(
    service: FakeService, api: Api, tmp_path: Path
) -> None:
    process = ClientProcess(api, tmp_path)
    seen = []
    for _ in range(2):
        service.asked.clear()
        # the state that comes is damaged: tried again and again, with heartbeats meanwhile
        service.gives(ok(ASSIGNMENT))
        assert process.work_once()
        paths = {asked.path.rsplit("/", 1)[-1] for asked in service.asked}
        assert {"claim", "heartbeat", "fail", "0" * 64} <= paths
        (one,) = set(ids(service))
        seen.append(one)
    assert None not in seen
    assert seen[0] != seen[1]


def test_the_facts_end_with_the_assignment(service: FakeService, api: Api, tmp_path: Path) -> None:
    service.gives(ok(ASSIGNMENT))
    ClientProcess(api, tmp_path).work_once()
    assert facts.current() == {}
