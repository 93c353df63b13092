"""Simulated and external clients in one job: who may join, who gets what, what a round needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api.client_schemas import Enrolled
from api.errors import ApiError
from api.services import callers, enrolment, offers, work
from tests.api import people
from tests.api.exchange import as_worker
from tests.api.house import House, is_refused, toy_update

Json = dict[str, Any]
MIXED = {"simulated": 1, "external": {"min": 2, "select": {"labels": {"site": "eu"}}}}


@pytest.fixture
def mixed_job(house: House) -> Callable[..., str]:
    """A toy job of one simulated and two external clients, started."""

    def make(rounds: int = 1, **external: Any) -> str:
        rules = {"simulated": 1, "external": {**MIXED["external"], **external}}
        places = external.get("max", external.get("min", 2))
        return house.open_job(1 + places, rounds, clients_rules=rules)

    return make


@pytest.fixture
def hospital(engine: Engine) -> Callable[..., Enrolled]:
    def enrol(name: str, site: str = "eu", project: str = "default") -> Enrolled:
        return people.external(engine, name, project, {"site": site})

    return enrol


def caller_of(engine: Engine, made: Enrolled) -> callers.Caller:
    return callers.authenticate(engine, f"Bearer {made.key}")


def join(engine: Engine, made: Enrolled, job: str, rows: int = 7) -> int:
    return offers.join(engine, caller_of(engine, made), job, rows).client


def claim(house: House, made: Enrolled) -> Any:
    return work.claim(house.engine, house.settings, "x", made.client.id)


def test_a_job_waits_for_its_external_clients_and_says_for_whom(
    house: House, engine: Engine, client: TestClient, mixed_job: Any, hospital: Any
) -> None:
    job = mixed_job()
    shown = client.get(f"/v1/jobs/{job}").json()
    assert shown["waiting_for"] == "external clients with site=eu: 0 of 2 have joined"
    a, b = hospital("a"), hospital("b")
    assert join(engine, a, job) == 1
    house.advance(job)
    assert house.claim_or_none() is None
    assert join(engine, b, job) == 2
    house.advance(job)
    assert [seat.client for seat in house.seats(job, 1)] == [0, 1, 2]
    assert [seat.num_examples for seat in house.seats(job, 1)] == [10, 7, 7]


def test_the_work_of_a_client_that_leaves_is_over_at_once(
    house: House, engine: Engine, mixed_job: Any, hospital: Any
) -> None:
    job, a, b = mixed_job(), hospital("a"), hospital("b")
    for one in (a, b):
        join(engine, one, job)
    house.advance(job)
    seat, other = claim(house, a), claim(house, b)
    offers.refuse(engine, caller_of(engine, a), job, "another model")
    stopped = house.seat(seat.id)
    why = "client a does not take part: another model"
    assert (stopped.state, stopped.error) == ("failed", why)
    is_refused(409, "stale-lease", lambda: house.heartbeat(seat))
    house.heartbeat(other)


def test_each_client_gets_its_own_work_and_a_worker_that_of_simulated_ones(
    house: House, engine: Engine, mixed_job: Any, hospital: Any
) -> None:
    job, a, b = mixed_job(), hospital("a"), hospital("b")
    numbers = [join(engine, one, job) for one in (a, b)]
    house.advance(job)
    seats = [claim(house, one) for one in (a, b)]
    assert [seat.client for seat in seats] == numbers
    assert [house.seat(seat.id).worker for seat in seats] == ["a", "b"]
    assert all(seat.external for seat in seats)
    assert (claim(house, a), claim(house, b)) == (None, None)
    own = house.claim()
    assert (own.client, own.external) == (0, False)
    assert house.claim_or_none() is None
    for seat in seats:
        house.hand_in(seat, toy_update(num_examples=7))
    house.hand_in(own)
    house.advance(job)
    assert house.get(job).state == "done"


def test_the_work_of_another_client_does_not_exist(
    house: House, engine: Engine, client: TestClient, mixed_job: Any, hospital: Any
) -> None:
    job, a, b = mixed_job(), hospital("a"), hospital("b")
    for one in (a, b):
        join(engine, one, job)
    house.advance(job)
    seat, other = claim(house, a), claim(house, b)
    stolen = {**people.bearer(b), "X-Lease-Token": seat.lease_token}
    path = f"/v1/assignments/{seat.id}/heartbeat"
    answer = client.post(path, json={"step": 1}, headers=stolen)
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (404, "not-found")
    path = f"/v1/assignments/{other.id}/heartbeat"
    answer = client.post(path, json={"step": 1}, headers=stolen)
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (409, "stale-lease")


def offered(http: TestClient, made: Enrolled) -> list[Json]:
    answer = http.get("/v1/client/jobs", headers=people.bearer(made))
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


def test_a_job_is_offered_to_clients_of_its_project_with_its_labels(
    house: House, engine: Engine, client: TestClient, mixed_job: Any, hospital: Any
) -> None:
    people.project(engine, "other")
    job = mixed_job()
    chosen, wrong = hospital("a"), hospital("b", site="us")
    elsewhere = hospital("c", project="other")
    (offer,) = offered(client, chosen)
    assert (offer["job"], offer["client"], offer["places"], offer["clients"]) == (job, None, 2, 1)
    for stranger in (wrong, elsewhere):
        assert offered(client, stranger) == []
        is_refused(404, "not-found", lambda made=stranger: join(engine, made, job))
    join(engine, chosen, job)
    (offer,) = offered(client, chosen)
    assert (offer["client"], offer["places"]) == (1, 1)


def test_joining_again_gives_the_same_place_and_the_rows_count_from_the_next_claim(
    house: House, engine: Engine, mixed_job: Any, hospital: Any
) -> None:
    job, a = mixed_job(min=1), hospital("a")
    assert join(engine, a, job, rows=7) == join(engine, a, job, rows=7) == 1
    house.advance(job)
    join(engine, a, job, rows=9)
    seat = claim(house, a)
    assert seat.num_examples == 9
    assert house.hand_in(seat, toy_update(num_examples=9)).bytes_up > 0
    assert house.count(job, "joined") == 1


def test_no_client_can_say_it_has_more_rows_than_the_job_allows(
    engine: Engine, mixed_job: Any, hospital: Any
) -> None:
    job, a = mixed_job(max_examples=100), hospital("a")
    with pytest.raises(ApiError, match="num_examples is 101; this job allows 1 to 100"):
        join(engine, a, job, rows=101)


def test_places_are_given_once(
    engine: Engine, client: TestClient, mixed_job: Any, hospital: Any
) -> None:
    job, late = mixed_job(min=1), hospital("late")
    join(engine, hospital("a"), job)
    is_refused(409, "conflict", lambda: join(engine, late, job))
    assert offered(client, late) == []


def refuse(http: TestClient, made: Enrolled, job: str, reason: str) -> httpx.Response:
    path = f"/v1/client/jobs/{job}/refuse"
    return http.post(path, json={"reason": reason}, headers=people.bearer(made))


def test_a_refusal_is_seen_with_its_reason(
    house: House, engine: Engine, client: TestClient, mixed_job: Any, hospital: Any
) -> None:
    job, a = mixed_job(), hospital("a")
    for _ in range(2):
        assert refuse(client, a, job, "no differential privacy").status_code == 204
    (shown,) = client.get(f"/v1/jobs/{job}/externals").json()["refusals"]
    assert (shown["name"], shown["reason"]) == ("a", "no differential privacy")
    assert house.count(job, "refused") == 1
    assert offered(client, a)[0]["refused"] == "no differential privacy"
    join(engine, a, job)
    found = client.get(f"/v1/jobs/{job}/externals").json()
    assert found["refusals"] == []
    assert [(one["client"], one["name"], one["num_examples"]) for one in found["items"]] == [
        (1, "a", 7)
    ]
    assert found["lacks"] == "external clients with site=eu: 1 of 2 have joined"


def test_without_a_client_that_was_revoked_the_next_round_goes_on_or_waits(
    house: House, engine: Engine, mixed_job: Any, hospital: Any
) -> None:
    job, a, b = mixed_job(rounds=3, min=1, max=2), hospital("a"), hospital("b")
    for one in (a, b):
        join(engine, one, job)
    house.advance(job)

    def everybody_answers() -> None:
        while (seat := claim(house, a) or claim(house, b)) is not None:
            house.hand_in(seat, toy_update(num_examples=7))
        house.finish_round(job)

    assert claim(house, a) is not None
    enrolment.revoke(engine, people.ADMIN, a.client.id)
    assert house.seats(job, 1)[1].error == "client a was revoked"
    everybody_answers()
    assert [seat.client for seat in house.seats(job, 2)] == [0, 2]
    enrolment.revoke(engine, people.ADMIN, b.client.id)
    everybody_answers()
    assert [row.number for row in house.rounds(job)] == [0, 1, 2]
    for number in (0, 1, 2):
        house.set_round(job, number, closed_at=time.time() - 100_000)
    house.advance(job)
    assert house.get(job).reason == "too late: external clients with site=eu: 0 of 1 have joined"


def test_holdouts_of_a_round_are_a_weighted_mean_and_the_worst_client(
    house: House, engine: Engine, client: TestClient, mixed_job: Any, hospital: Any
) -> None:
    job, a, b = mixed_job(), hospital("a"), hospital("b")
    for one in (a, b):
        join(engine, one, job)
    house.advance(job)
    reports = ((a, 30, {"accuracy": 0.9, "loss": 0.2}), (b, 10, {"accuracy": 0.5, "loss": 0.6}))
    for made, rows, metrics in reports:
        seat = claim(house, made)
        headers = {**people.bearer(made), "X-Lease-Token": seat.lease_token}
        body = {"num_examples": rows, "metrics": metrics}
        path = f"/v1/assignments/{seat.id}/holdout"
        assert client.post(path, json=body, headers=headers).status_code == 204
    (row,) = client.get(f"/v1/jobs/{job}/rounds").json()["items"]
    found = row["holdout"]
    assert (found["clients"], found["num_examples"]) == (2, 40)
    assert found["mean"] == pytest.approx({"accuracy": 0.8, "loss": 0.3})
    assert found["worst"]["accuracy"] == {"client": 2, "value": 0.5}
    assert found["worst"]["loss"] == {"client": 2, "value": 0.6}
    seats = client.get(f"/v1/jobs/{job}/rounds/1/clients").json()["items"]
    assert [seat["holdout"].get("accuracy") for seat in seats] == [None, 0.9, 0.5]


def wait(http: TestClient, headers: dict[str, str], wait_s: float) -> tuple[int, float]:
    began = time.monotonic()
    body = {"worker": "x", "wait_s": wait_s}
    answer = http.post("/v1/assignments/claim", json=body, headers=headers)
    return answer.status_code, time.monotonic() - began


def test_a_claim_can_wait_for_work(
    house: House, engine: Engine, client: TestClient, mixed_job: Any, hospital: Any
) -> None:
    status, took_s = wait(client, as_worker(), 0.3)
    assert status == 204
    assert took_s >= 0.3
    job, a = mixed_job(min=1), hospital("a")
    join(engine, a, job)
    house.advance(job)
    assert wait(client, people.bearer(a), 60)[0] == 200


def test_a_client_with_work_that_is_not_its_own_project_has_none(
    house: House, engine: Engine, client: TestClient, hospital: Any
) -> None:
    house.open_job()
    made = hospital("a")
    assert wait(client, people.bearer(made), 0)[0] == 204


def test_operators_see_what_a_client_works_on_and_what_it_turned_down(
    house: House, engine: Engine, client: TestClient, mixed_job: Any, hospital: Any
) -> None:
    job, other, a, b = mixed_job(), mixed_job(), hospital("a"), hospital("b")
    for one in (a, b):
        join(engine, one, job)
    offers.refuse(engine, caller_of(engine, b), other, "no consent for this study")
    house.advance(job)
    seat = claim(house, a)
    shown = {one["name"]: one for one in client.get("/v1/clients").json()["items"]}
    (working,) = shown["a"]["work"]
    assert (working["job"], working["round"], working["client"]) == (job, 1, seat.client)
    assert shown["b"]["work"] == []
    (refused,) = shown["b"]["refuses"]
    assert (refused["job"], refused["reason"]) == (other, "no consent for this study")
    assert len(shown["a"]["keys"]) == len(shown["b"]["keys"]) == 1
