"""A buffered job through the real service: every accepted update is counted once."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.slow


def test_a_buffered_job_counts_every_accepted_update_once(up: Any, job: dict[str, Any]) -> None:
    job |= {"rounds": {"count": 5, "mode": "buffered", "buffer": 2}}
    with up("--no-dashboard") as service, service.client() as http:
        made = http.post("/v1/jobs", json=job)
        assert made.status_code == 201, made.text
        assert made.json()["rounds"] == 5
        done = service.wait(made.json()["id"])
        assert (done["state"], done["rounds_closed"]) == ("done", 5), done
        rounds = http.get(f"/v1/jobs/{done['id']}/rounds").json()["items"]
        seats = [
            seat
            for item in rounds
            for seat in http.get(f"/v1/jobs/{done['id']}/rounds/{item['round']}/clients").json()[
                "items"
            ]
        ]
        events = http.get(f"/v1/jobs/{done['id']}/events?format=json").json()["items"]
    accepted = [event for event in events if event["kind"] == "update"]
    counted = {
        (seat["client"], seat["round"]): seat["counted_in"]
        for seat in seats
        if seat["counted_in"] is not None
    }
    assert len(counted) == len(accepted) == sum(len(item["clients"]) for item in rounds)
    for item in rounds:
        assert item["done"] == len(item["clients"]) >= 2
        members = sorted(
            client for (client, _), number in counted.items() if number == item["round"]
        )
        assert members == sorted(item["clients"])
    assert done["bytes_up"] == sum(item["bytes_up"] for item in rounds)
    assert done["bytes_down"] == sum(item["bytes_down"] for item in rounds)
    assert done["model_sha256"]
