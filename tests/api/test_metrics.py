from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete

from api.db import figures
from api.db.session import writing
from api.db.tables import Assignment, Client, Event, Export, Job, Round, Table
from api.services import figures as served
from api.settings import Settings
from tests.api.exchange import as_user, as_worker
from tests.api.house import House, toy_update
from tests.api.scrape import METRICS_KEY, Scrape, bearer, scrape

Look = Callable[[], Scrape]


@pytest.fixture
def look(client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Scrapes; no figure is kept from the scrape before."""
    monkeypatch.setattr(served, "_KEPT_S", 0.0)
    monkeypatch.setattr(served, "_SHARE", 0.0)
    return lambda: scrape(client, settings)


def busy_house(house: House) -> list[str]:
    """A job that ended after a lost lease and a refusal, and one in the middle of its round."""
    ended = house.open_job(clients=2, rounds=2)
    silent = house.claim("w0")
    house.fetch(silent)
    house.lease_runs_out(silent.id)
    house.advance(ended)
    while (seat := house.claim_or_none("w1")) is not None:
        house.fetch(seat)
        house.hand_in(seat)
        house.hand_in(seat)  # the same again: its bytes came to nothing
        house.advance(ended)
    going_on = house.open_job(clients=3)
    house.claim("w2")
    house.claim("w3")
    return [ended, going_on]


def test_the_figures_are_those_of_the_database(house: House, look: Look) -> None:
    jobs = busy_house(house)
    seen = look()
    assert (seen("fedkrso_jobs", state="done"), seen("fedkrso_jobs", state="running")) == (1, 1)
    assert seen("fedkrso_jobs", state="failed") == 0
    seats = [seat for job in jobs for seat in house.seats(job)]
    for state in ("pending", "leased", "done", "failed", "cancelled"):
        expected = sum(seat.state == state for seat in seats)
        assert seen("fedkrso_assignments", state=state) == expected, state
    done = [seat for seat in seats if seat.digest]
    assert seen("fedkrso_updates_accepted_total") == len(done) == 4
    assert seen("fedkrso_leases_granted_total") == sum(seat.attempt for seat in seats) == 7
    assert seen("fedkrso_leases_expired_total") == 1
    assert seen("fedkrso_busy_workers") == 2
    up, lost = sum(s.bytes_up for s in seats), sum(s.bytes_up_lost for s in seats)
    assert seen("fedkrso_payload_bytes_total", direction="up") == up + lost > lost > 0
    assert seen("fedkrso_payload_lost_bytes_total", direction="up") == lost
    down, lost = sum(s.bytes_down for s in seats), sum(s.bytes_lost for s in seats)
    assert seen("fedkrso_payload_bytes_total", direction="down") == down + lost > lost > 0
    assert seen("fedkrso_payload_lost_bytes_total", direction="down") == lost


def test_rounds_and_their_seconds_are_those_of_the_database(house: House, look: Look) -> None:
    jobs = busy_house(house)
    seen = look()
    closed = [r for job in jobs for r in house.rounds(job) if r.number and r.state == "closed"]
    assert seen("fedkrso_rounds_closed_total") == len(closed) == 2
    took = sum((r.closed_at or 0) - r.opened_at for r in closed)
    assert seen("fedkrso_round_seconds_total") == pytest.approx(took, abs=1e-4)
    for phase in ("aggregate", "evaluate"):
        expected = sum(getattr(r, f"{phase}_s") for r in closed)
        assert seen("fedkrso_phase_seconds_total", phase=phase) == pytest.approx(expected, abs=1e-6)
    assert seen("fedkrso_oldest_open_round_seconds") > 0
    assert seen("fedkrso_oldest_waiting_assignment_seconds") > 0


def test_the_seconds_of_clients_are_split_into_phases(house: House, look: Look) -> None:
    house.open_job(clients=2)
    now = time.time()
    for seat, train_s in ((house.claim(), 6.0), (house.claim(), 1e9)):
        house.hand_in(seat)
        times = {"created_at": now - 30, "leased_at": now - 20, "done_at": now - 10}
        house.set_seat(seat.id, train_s=train_s, **times)
    seen = look()
    # who claims to have trained for longer than it had the lease is believed as far as it can be
    assert seen("fedkrso_phase_seconds_total", phase="train") == pytest.approx(6 + 10, abs=1e-3)
    assert seen("fedkrso_phase_seconds_total", phase="transfer") == pytest.approx(4, abs=1e-3)
    assert seen("fedkrso_phase_seconds_total", phase="wait") == pytest.approx(20, abs=1e-3)


def test_totals_outlive_the_jobs_they_came_from(house: House, look: Look) -> None:
    ended, _ = busy_house(house)
    before = look()
    with writing(house.engine) as session:
        figures.keep(session, ended)
        for table in (Event, Export, Client, Assignment, Round):
            session.execute(delete(table).where(table.job_id == ended))
        session.execute(delete(Job).where(Job.id == ended))
    after = look()
    counters = [name for name, _ in before.samples if name.endswith("_total")]
    ours = [n for n in counters if not n.startswith(("fedkrso_http", "process", "python"))]
    assert len(ours) > 12
    for name, labels in before.samples:
        if name in ours:
            value = after.samples[name, labels]
            assert value == pytest.approx(before.samples[name, labels], abs=1e-4), name
    assert after("fedkrso_jobs", state="done") == 0


def test_hints_that_wait_are_counted(house: House, look: Look, settings: Settings) -> None:
    house.open_job(clients=3)
    waiting = list((settings.queue_folder / "messages").glob("*.clients.msg"))
    seen = look()
    assert seen("fedkrso_queue_messages", queue="clients") == len(waiting) == 3
    assert seen("fedkrso_queue_messages", queue="coordinator") == 0
    assert seen("fedkrso_broker_up") == 1


def test_refused_uploads_are_counted_by_reason(
    house: House, client: TestClient, look: Look
) -> None:
    house.open_job()
    seat, body = house.claim(), toy_update()
    before = look()

    def put(token: str, sent: bytes) -> int:
        headers = as_worker() | {
            "X-Lease-Token": token,
            "X-Content-SHA256": hashlib.sha256(sent).hexdigest(),
        }
        report = {"peak_memory_bytes": 1, "train_s": 0.1}
        url = f"/v1/assignments/{seat.id}/update"
        return client.put(url, content=sent, params=report, headers=headers).status_code

    assert (put("wrong", body), put(seat.lease_token, b"noise")) == (409, 422)
    after = look()
    for reason, more in (("stale-lease", 1), ("invalid-update", 1), ("too-large", 0)):
        name = "fedkrso_uploads_refused_total"
        assert after(name, reason=reason) - before(name, reason=reason) == more, reason
    route = "/v1/assignments/{assignment_id}/update"
    for status in ("409", "422"):
        labels = {"method": "PUT", "route": route, "status": status}
        name = "fedkrso_http_requests_total"
        assert after(name, **labels) - before.get(name, **labels) == 1


def test_requests_are_counted_by_the_template_of_their_route(
    client: TestClient, look: Look
) -> None:
    before = look()
    for job_id in ("0123", "4567"):
        assert client.get(f"/v1/jobs/{job_id}", headers=as_user()).status_code == 404
    client.request("BREW", "/coffee")
    after = look()

    def more(name: str, **labels: str) -> float:
        return after.get(name, **labels) - before.get(name, **labels)

    of_jobs = {"method": "GET", "route": "/v1/jobs/{job_id}"}
    assert more("fedkrso_http_requests_total", status="404", **of_jobs) == 2
    assert more("fedkrso_http_request_duration_seconds_count", **of_jobs) == 2
    strange = {"method": "other", "route": "unmatched", "status": "404"}
    assert more("fedkrso_http_requests_total", **strange) == 1
    assert not [labels for _, labels in after.samples if "0123" in str(labels)]


def test_figures_go_out_while_the_database_is_away(client: TestClient, look: Look) -> None:
    from api.deps import database

    Table.metadata.drop_all(database())
    seen = look()
    assert seen("fedkrso_database_up") == 0
    assert seen("fedkrso_broker_up") == 1
    assert seen.get("fedkrso_build_info", version="0.1.0") == 1
    Table.metadata.create_all(database())


def test_a_broker_that_says_nothing_does_not_hold_up_a_scrape(
    look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    monkeypatch.setattr(served, "_LIMIT_S", 1.0)
    monkeypatch.setattr(served, "depths", lambda _: stop.wait(60) and {})
    assert look()("fedkrso_broker_up") == 0
    stop.set()


def test_scrapes_in_quick_succession_ask_the_database_once(
    client: TestClient, settings: Settings, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    read = served._read
    monkeypatch.setattr(served, "_read", lambda engine: asked.append(1) or read(engine))
    monkeypatch.setattr(served, "_KEPT_S", 60.0)
    first = scrape(client, settings)
    house.open_job()
    second = scrape(client, settings)
    assert len(asked) == 1
    assert first("fedkrso_jobs", state="running") == second("fedkrso_jobs", state="running") == 0


def test_metrics_need_the_metrics_key(client: TestClient, settings: Settings) -> None:
    settings.metrics_key = ""
    off = client.get("/metrics", headers=bearer(METRICS_KEY))
    assert (off.status_code, off.json()["detail"]) == (
        401,
        "/metrics is off: set FEDKRSO_METRICS_KEY of the API",
    )
    settings.metrics_key = METRICS_KEY
    assert client.get("/metrics", headers={"Authorization": ""}).status_code == 401
    assert client.get("/metrics", headers=as_user()).status_code == 401
    assert client.get("/metrics", headers=bearer(METRICS_KEY)).status_code == 200


def test_names_follow_the_conventions(house: House, look: Look) -> None:
    house.open_job()
    for family in look().families:
        if not family.name.startswith("fedkrso_"):
            continue
        assert family.documentation.endswith("."), family.name
        assert not family.name.endswith(("_ms", "_kb", "_count")), family.name
        for sample in family.samples:
            if family.type == "counter":
                assert sample.name.endswith(("_total", "_created")), sample.name
            elif family.type == "gauge":
                assert not sample.name.endswith("_total"), sample.name
