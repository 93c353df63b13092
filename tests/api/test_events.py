from __future__ import annotations

import json
import threading
import time
from typing import Any

from fastapi.testclient import TestClient

from tests.api.house import House

Json = dict[str, Any]


def parsed(stream: str) -> list[Json]:
    """The events of a text/event-stream."""
    blocks = [block for block in stream.replace("\r\n", "\n").split("\n\n") if "data:" in block]
    return [
        dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        for block in blocks
    ]


def as_json(client: TestClient, job_id: str, **params: Any) -> list[Json]:
    answer = client.get(f"/v1/jobs/{job_id}/events", params={"format": "json", **params})
    assert answer.status_code == 200
    return answer.json()["items"]


def test_events_so_far_come_as_json(client: TestClient, house: House) -> None:
    job_id = house.open_job(clients=2)
    events = as_json(client, job_id)
    assert [event["kind"] for event in events] == ["started", "round-opened"]
    assert events[1]["text"] == "Round 1 opened for clients 0, 1"
    assert events[1]["data"] == {"round": 1}


def test_events_after_an_id_leave_out_the_earlier_ones(client: TestClient, house: House) -> None:
    job_id = house.open_job()
    first, *rest = as_json(client, job_id)
    assert as_json(client, job_id, after=first["id"]) == rest
    assert as_json(client, job_id, after=rest[-1]["id"]) == []


def test_the_newest_events_come_without_the_earlier_ones(client: TestClient, house: House) -> None:
    job_id = house.open_job()
    every = as_json(client, job_id)
    assert as_json(client, job_id, last=1) == every[-1:]
    assert as_json(client, job_id, last=500) == every


def test_a_client_that_was_lost_says_who_had_it_and_who_has_it(
    client: TestClient, house: House
) -> None:
    job_id = house.open_job(clients=1)
    house.give_back(house.claim("gpu-1"))
    house.claim("gpu-2")
    first, lost, again = as_json(client, job_id)[2:]
    assert first["text"] == "Client 0 was given to gpu-1 (round 1)"
    assert again["text"] == "Client 0 was given to gpu-2 after gpu-1 (round 1)"
    assert lost["data"] == again["data"] == {"client": 0, "round": 1}


def test_the_stream_of_an_ended_job_ends(client: TestClient, house: House) -> None:
    job_id = house.open_job(clients=1)
    house.finish_round(job_id)
    answer = client.get(f"/v1/jobs/{job_id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = parsed(answer.text)
    assert [event["event"] for event in events] == [
        "started",
        "round-opened",
        "leased",
        "update",
        "round-closed",
        "round-measured",
        "done",
    ]
    assert [json.loads(event["data"]) for event in events] == as_json(client, job_id)
    assert [int(event["id"]) for event in events] == [e["id"] for e in as_json(client, job_id)]


def test_a_stream_goes_on_where_it_was_cut(client: TestClient, house: House) -> None:
    job_id = house.open_job(clients=1)
    house.finish_round(job_id)
    ids = [event["id"] for event in as_json(client, job_id)]
    headers = {"Last-Event-ID": str(ids[3])}
    events = parsed(client.get(f"/v1/jobs/{job_id}/events", headers=headers).text)
    assert [int(event["id"]) for event in events] == ids[4:]


def test_a_stream_that_was_cut_at_the_newest_event_repeats_nothing(
    client: TestClient, house: House
) -> None:
    job_id = house.open_job(clients=1)
    newest = as_json(client, job_id)[-1]["id"]

    def end_the_job() -> None:
        time.sleep(0.7)  # after the stream has asked again
        house.finish_round(job_id)

    later = threading.Thread(target=end_the_job)
    later.start()
    headers = {"Last-Event-ID": str(newest)}
    events = parsed(client.get(f"/v1/jobs/{job_id}/events", headers=headers).text)
    later.join()
    assert [event["event"] for event in events] == [
        "leased",
        "update",
        "round-closed",
        "round-measured",
        "done",
    ]
