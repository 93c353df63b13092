"""Curves of jobs: what is summed up, what is left out, and who sees them."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api.db.session import writing
from api.db.tables import Assignment, Round
from tests.api import people
from tests.api.house import House

Json = dict[str, Any]
START = 1_000_000.0


def _with_rounds(house: House, count: int, every: int = 1, clients: int = 2) -> str:
    """A running job whose rounds took 10 s each; a client sends 100 bytes and gets 1000."""
    job = house.job(clients, rounds=count + 5)
    house.set_job(job, state="running", rounds_closed=count, started_at=START)
    with writing(house.engine) as session:
        for number in range(1, count + 1):
            session.add(_round(job, number, number % every == 0))
            session.flush()
            session.add_all(_seat(job, number, client) for client in range(clients))
    return job


def _round(job: str, number: int, is_measured: bool) -> Round:
    opened = START + 10 * (number - 1)
    return Round(
        job_id=job,
        number=number,
        state="closed",
        opened_at=opened,
        closed_at=opened + 10,
        deadline=opened + 60,
        expected={},
        metrics={"accuracy": number / 100} if is_measured else {},
        measured_at=opened + 10 if is_measured else None,
        aggregate_s=1.0,
    )


def _seat(job: str, number: int, client: int) -> Assignment:
    opened = START + 10 * (number - 1)
    return Assignment(
        id=f"{job}-{number}-{client}",
        job_id=job,
        number=number,
        client=client,
        state="done",
        needs_from=0,
        lacks_from=0,
        created_at=opened,
        hinted_at=opened,
        leased_at=opened + 1,
        done_at=opened + 6,
        bytes_up=100,
        bytes_down=1000,
        num_examples=10,
        peak_memory_bytes=1000 * number + client,
        train_s=3.0,
    )


def _curves(client: TestClient, *jobs: str, points: int = 200) -> list[Json]:
    answer = client.get("/v1/jobs:series", params={"job": jobs, "points": points})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def test_a_point_says_what_was_sent_since_the_start_and_where_the_time_went(
    client: TestClient, house: House
) -> None:
    (curve,) = _curves(client, _with_rounds(house, 3))
    assert [point["round"] for point in curve["points"]] == [1, 2, 3]
    last = curve["points"][-1]
    assert (last["bytes_up"], last["bytes_down"]) == (600, 6000)
    assert last["peak_memory_bytes"] == 3001
    assert last["elapsed_s"] == 30
    assert last["seconds"] == {"train": 3, "transfer": 2, "aggregate": 1, "wait": 4}
    assert (curve["headline"], curve["higher_is_better"]) == ("accuracy", True)


def test_a_long_job_is_thinned_out_and_its_sums_stay_right(
    client: TestClient, house: House
) -> None:
    (curve,) = _curves(client, _with_rounds(house, 100), points=7)
    points = curve["points"]
    assert len(points) <= 7
    assert points[-1]["round"] == 100
    assert [p["bytes_up"] for p in points] == [200 * p["round"] for p in points]
    assert points[0]["peak_memory_bytes"] == 1000 * points[0]["round"] + 1


def test_thinning_keeps_rounds_that_were_measured(client: TestClient, house: House) -> None:
    (curve,) = _curves(client, _with_rounds(house, 100, every=7), points=8)
    *before, last = curve["points"]
    assert all(point["metrics"] for point in before)
    assert last["round"] == 100


def test_pauses_are_not_time_of_a_round(client: TestClient, house: House) -> None:
    job = _with_rounds(house, 2)
    house.set_round(job, 2, closed_at=START + 120, stopped_s=100.0)
    (curve,) = _curves(client, job)
    assert [point["elapsed_s"] for point in curve["points"]] == [10, 20]
    assert curve["points"][1]["seconds"]["wait"] == 4


def test_a_late_update_counts_in_the_round_that_took_it(client: TestClient, house: House) -> None:
    job = _with_rounds(house, 2)
    house.set_seat(f"{job}-1-0", counted_in=2)
    (curve,) = _curves(client, job)
    assert [point["bytes_up"] for point in curve["points"]] == [100, 400]
    assert [point["bytes_down"] for point in curve["points"]] == [2000, 4000]


def test_several_jobs_come_in_the_order_asked_for_and_each_once(
    client: TestClient, house: House
) -> None:
    long, short = _with_rounds(house, 4), _with_rounds(house, 1)
    assert [c["id"] for c in _curves(client, short, long, short)] == [short, long]


def test_a_job_without_a_closed_round_has_no_points(client: TestClient, house: House) -> None:
    assert _curves(client, house.job())[0]["points"] == []


def test_jobs_of_other_projects_are_not_found(
    client: TestClient, house: House, engine: Engine
) -> None:
    job = _with_rounds(house, 1)
    outsider = people.bearer(people.user(engine, "vera", "viewer"))
    query = {"job": [job]}
    assert client.get("/v1/jobs:series", params=query, headers=outsider).status_code == 404
    assert client.get("/v1/jobs:series", params={"job": ["nobody"]}).status_code == 404


@pytest.mark.parametrize("query", [{}, {"job": ["a"], "points": 1}, {"job": ["a"] * 101}])
def test_a_question_without_jobs_or_with_too_many_is_refused(
    client: TestClient, query: Json
) -> None:
    assert client.get("/v1/jobs:series", params=query).status_code == 422


def test_the_list_has_curves_of_the_headline_when_asked(client: TestClient, house: House) -> None:
    _with_rounds(house, 40, every=2)
    house.job()
    plain = client.get("/v1/jobs").json()["items"]
    assert [job["curve"] for job in plain] == [[], []]
    without, job = client.get("/v1/jobs", params={"curve": 5}).json()["items"]
    assert without["curve"] == []
    assert 1 < len(job["curve"]) <= 5
    assert job["curve"][-1] == [40, 0.4]
    assert job["metrics"] == plain[1]["metrics"] == {"accuracy": 0.4}


def test_the_end_of_a_running_job_is_expected_at_the_pace_so_far(
    client: TestClient, house: House
) -> None:
    job = _with_rounds(house, 10)
    begun = time.time() - 100
    house.set_job(job, started_at=begun)
    house.set_round(job, 10, closed_at=begun + 100)
    eta = client.get(f"/v1/jobs/{job}").json()["eta"]
    assert datetime.fromisoformat(eta).timestamp() == pytest.approx(begun + 150, abs=1)
    house.set_job(job, state="paused")
    assert client.get(f"/v1/jobs/{job}").json()["eta"] is None


def test_an_overdue_job_is_not_expected_in_the_past(client: TestClient, house: House) -> None:
    job = _with_rounds(house, 10)
    eta = client.get(f"/v1/jobs/{job}").json()["eta"]
    assert eta[:4] >= time.strftime("%Y")


def _names(client: TestClient, **query: Any) -> list[str]:
    return [job["name"] for job in client.get("/v1/jobs", params=query).json()["items"]]


def _named(house: House) -> None:
    for name, user in (("bravo", "ada"), ("Alpha", None), ("100%_c", None)):
        house.set_job(house.job(), name=name, created_by=user)


def test_jobs_are_found_by_a_part_of_their_name_or_submitter(
    client: TestClient, house: House
) -> None:
    _named(house)
    assert _names(client, search="ALP") == ["Alpha"]
    assert _names(client, search="ada") == ["bravo"]
    assert _names(client, search="%_") == ["100%_c"]
    assert len(_names(client, search="toy")) == 3  # their method
    assert _names(client, search="nothing") == []


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("newest", ["100%_c", "Alpha", "bravo"]),
        ("oldest", ["bravo", "Alpha", "100%_c"]),
        ("name", ["100%_c", "Alpha", "bravo"]),
    ],
)
def test_sorted_jobs_come_page_by_page(
    client: TestClient, house: House, sort: str, order: list[str]
) -> None:
    _named(house)
    seen: list[str] = []
    after: Json = {}
    while True:
        query = {"sort": sort, "limit": 1, **after}
        page = client.get("/v1/jobs", params=query).json()
        seen += [job["name"] for job in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == order
