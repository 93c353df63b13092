"""Deleting jobs by hand and by age, and letting go of uploads and exports."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, select

from api.coordinator import collect as collecting
from api.db.external_tables import Refusal
from api.db.session import reading, writing
from api.db.tables import Audit, Export, Job, Table
from api.services import collection, exports, safekeeping
from api.settings import Settings
from tests.api.house import House, is_refused, toy_update

LONG_AGO = time.time() - 365 * 86400.0


@pytest.fixture
def collector(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """The house, whose store the collector uses too."""
    monkeypatch.setattr(collecting, "store", lambda: house.store)
    return house


def finished(house: House, rounds: int = 1) -> str:
    job_id = house.open_job(clients=2, rounds=rounds)
    for _ in range(rounds):
        house.finish_round(job_id)
    assert house.get(job_id).state == "done"
    return job_id


def rows_of(engine: Engine, job_id: str) -> dict[str, int]:
    """How many rows of each table belong to a job."""
    counts = {}
    with reading(engine) as session:
        for table in Table.metadata.sorted_tables:
            column = table.c.get("job_id", table.c.id if table.name == "jobs" else None)
            if column is not None:
                counts[table.name] = len(
                    session.execute(select(table).where(column == job_id)).all()
                )
    return counts


def stored(house: House) -> set[str]:
    return {found.digest for found in house.store.blobs.listed()}


def with_settings(house: House, **changed: Any) -> Settings:
    return house.settings.model_copy(update=changed)


def collect(house: House, **changed: Any) -> None:
    house.store.settings = with_settings(house, **changed)
    collecting.collect()


def test_an_ended_job_is_deleted_with_every_row(
    client: TestClient, house: House, engine: Engine
) -> None:
    gone, kept = finished(house), finished(house)
    with writing(engine) as session:
        for job_id in (gone, kept):
            session.add(Refusal(job_id=job_id, external="a", reason="not this one", at=1.0))
    before = rows_of(engine, kept)
    assert min(before.values()) > 0
    assert client.delete(f"/v1/jobs/{gone}").status_code == 204
    assert set(rows_of(engine, gone).values()) == {0}
    assert rows_of(engine, kept) == before
    assert client.get(f"/v1/jobs/{gone}").status_code == 404
    assert client.delete(f"/v1/jobs/{gone}").status_code == 404


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_job_that_has_not_ended_is_not_deleted(
    client: TestClient, house: House, state: str
) -> None:
    job_id = house.job() if state == "queued" else house.open_job()
    answer = client.delete(f"/v1/jobs/{job_id}")
    assert answer.status_code == 409
    assert answer.json()["detail"] == f"job {job_id} is {state}: cancel it first"
    assert house.get(job_id).state == state


def test_blobs_of_a_deleted_job_go_but_for_those_of_other_jobs(
    client: TestClient, collector: House
) -> None:
    gone, kept = finished(collector), finished(collector)
    own = toy_update([7.0, 7.0])
    with writing(collector.engine) as session:  # an export that only the first job has
        digest = safekeeping.put(collector.engine, collector.store.blobs, own).digest
        session.merge(
            Export(job_id=gone, number=1, state="ready", requested_at=time.time(), digest=digest)
        )
    client.delete(f"/v1/jobs/{gone}")
    collect(collector, blob_grace_s=0.0)
    states = {row.digest for row in collector.rounds(kept)}
    assert digest not in stored(collector)
    assert states <= stored(collector)


def test_a_coordinator_forgets_a_deleted_job(client: TestClient, house: House) -> None:
    job_id = finished(house)
    snapshots = house.settings.home / "coordinator" / job_id
    snapshots.mkdir(parents=True)
    client.delete(f"/v1/jobs/{job_id}")
    house.advance(job_id)
    assert not snapshots.exists()


def test_another_coordinator_forgets_it_when_it_collects(
    client: TestClient, collector: House
) -> None:
    gone, kept = finished(collector), finished(collector)
    for job_id in (gone, kept):
        (collector.settings.home / "coordinator" / job_id).mkdir(parents=True)
    client.delete(f"/v1/jobs/{gone}")
    collect(collector)
    left = [folder.name for folder in (collector.settings.home / "coordinator").iterdir()]
    assert left == [kept]


def test_an_upload_for_a_job_that_is_deleted_meanwhile_is_not_found(
    client: TestClient, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = house.open_job()
    seat = house.claim()

    def keep_slowly(*_: Any) -> None:
        house.set_job(job_id, state="cancelled", finished_at=time.time())
        assert client.delete(f"/v1/jobs/{job_id}").status_code == 204

    monkeypatch.setattr(safekeeping, "keep", keep_slowly)
    is_refused(404, "not-found", lambda: house.hand_in(seat))


def test_uploads_of_ended_jobs_go_after_their_time_and_the_journal_stays(
    collector: House,
) -> None:
    job_id = finished(collector, rounds=2)
    other = collector.open_job(clients=1, rounds=2)
    collector.hand_in(collector.claim(), toy_update([3.0, 3.0]))
    collect(collector, keep_updates_s=3600.0, blob_grace_s=0.0)
    assert all(seat.digest for seat in collector.seats(job_id))
    collector.set_job(job_id, finished_at=LONG_AGO)
    collect(collector, keep_updates_s=3600.0, blob_grace_s=0.0)
    assert [seat.digest for seat in collector.seats(job_id)] == [None] * 4
    assert all(seat.bytes_up for seat in collector.seats(job_id))
    states = {row.digest for row in collector.rounds(job_id)}
    running = {seat.digest for seat in collector.seats(other) if seat.digest}
    first = {row.digest for row in collector.rounds(other) if row.digest}
    assert stored(collector) == states | running | first


def test_uploads_of_a_round_that_was_not_closed_stay(collector: House) -> None:
    job_id = collector.open_job(clients=2)
    collector.hand_in(collector.claim())
    collector.set_round(job_id, 1, state="failed")
    collector.set_job(job_id, state="failed", finished_at=LONG_AGO)
    collect(collector, keep_updates_s=0.0)
    assert sum(seat.digest is not None for seat in collector.seats(job_id)) == 1


def test_an_export_that_nobody_asks_for_goes_and_is_built_anew_on_demand(
    client: TestClient, collector: House
) -> None:
    job_id = finished(collector)
    with writing(collector.engine) as session:
        digest = safekeeping.put(collector.engine, collector.store.blobs, b"zip").digest
        row = session.get_one(Export, (job_id, 1))
        row.state, row.digest, row.requested_at = "ready", digest, LONG_AGO
    assert client.get(f"/v1/jobs/{job_id}/model").content == b"zip"
    collect(collector, keep_exports_s=3600.0)
    assert client.get(f"/v1/jobs/{job_id}/model").content == b"zip"
    with writing(collector.engine) as session:
        session.get_one(Export, (job_id, 1)).requested_at = LONG_AGO
    collect(collector, keep_exports_s=3600.0, blob_grace_s=0.0)
    assert digest not in stored(collector)
    assert client.get(f"/v1/jobs/{job_id}/model").status_code == 202


def test_jobs_are_kept_for_ever_unless_a_time_is_set(collector: House) -> None:
    old, young, runs = finished(collector), finished(collector), collector.open_job()
    for job_id in (old, runs):
        collector.set_job(job_id, finished_at=LONG_AGO)
    assert collection.retire(collector.engine, with_settings(collector, keep_jobs_s=None)) == []
    assert collection.retire(collector.engine, with_settings(collector, keep_jobs_s=3600.0)) == [
        old
    ]
    with reading(collector.engine) as session:
        assert set(session.scalars(select(Job.id))) == {young, runs}


def test_the_audit_log_is_kept_for_ever_unless_a_time_is_set(
    client: TestClient, collector: House
) -> None:
    for job_id in (finished(collector), finished(collector)):
        assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    with writing(collector.engine) as session:
        session.scalars(select(Audit).order_by(Audit.id)).first().at = LONG_AGO
    for keep, left in ((None, 2), (3600.0, 1)):
        collection.retire(collector.engine, with_settings(collector, keep_audit_s=keep))
        assert len(client.get("/v1/audit").json()["items"]) == left


def test_an_export_cannot_begin_for_a_job_that_is_gone(client: TestClient, house: House) -> None:
    job_id = finished(house)
    client.delete(f"/v1/jobs/{job_id}")
    is_refused(404, "not-found", lambda: exports.request(house.engine, job_id, None))


def test_a_store_that_does_not_answer_stops_no_coordinator(
    collector: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise OSError("the blob store does not answer")

    monkeypatch.setattr(type(collector.store.blobs), "listed", away)
    collect(collector)
    monkeypatch.undo()
    collect(collector)
