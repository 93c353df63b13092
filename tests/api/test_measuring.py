"""A closed round is measured while the next one trains: once, and never left out."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from api.coordinator import export, hold
from api.db import jobs as job_rows
from api.db import rounds
from api.db.session import reading, writing
from api.db.tables import Export
from api.services import jobs, life
from tests.api.house import House
from tests.api.toy import ToyStore, ToyWorkload

Measured = Callable[[], None]


@pytest.fixture
def evaluating(monkeypatch: pytest.MonkeyPatch) -> Callable[[Measured], None]:
    """Lets something happen in the midst of each evaluation."""

    def set_to(meanwhile: Measured) -> None:
        def evaluate(self: ToyWorkload, before_batch: Measured = lambda: None) -> dict[str, float]:
            meanwhile()
            before_batch()
            return {"accuracy": 0.5, "loss": 1.0}

        monkeypatch.setattr(ToyWorkload, "evaluate", evaluate)

    return set_to


def measured(house: House, job_id: str) -> list[Any]:
    return [r.metrics.get("accuracy") for r in house.rounds(job_id) if r.number]


def test_clients_have_the_next_round_while_a_round_is_measured(
    house: House, evaluating: Callable[[Measured], None]
) -> None:
    job_id = house.open_job(clients=1, rounds=2)
    claimed: list[Any] = []
    evaluating(lambda: claimed.append(house.claim_or_none("early")))
    house.finish_round(job_id)
    assert [seat.round for seat in claimed] == [2]
    assert house.round(job_id, 1).measured_at is not None


def test_a_round_that_ended_meanwhile_is_aggregated_by_another_coordinator(
    house: House, evaluating: Callable[[Measured], None]
) -> None:
    job_id = house.open_job(clients=1, rounds=3)
    states: list[str] = []

    def meanwhile() -> None:
        evaluating(lambda: None)
        other = threading.Thread(target=house.finish_round, args=(job_id,))
        other.start()
        other.join()
        states.append(house.round(job_id, 2).state)

    evaluating(meanwhile)
    house.finish_round(job_id)
    assert states == ["closed"]
    assert measured(house, job_id) == [0.5, 0.5, None]


def test_two_coordinators_measure_a_round_once(
    house: House, evaluating: Callable[[Measured], None]
) -> None:
    job_id = house.open_job(clients=1, rounds=2)
    evaluating(lambda: house.advance(job_id))
    house.finish_round(job_id)
    assert house.count(job_id, "round-measured") == 1


def test_a_job_does_not_end_before_its_last_round_is_measured(
    house: House, evaluating: Callable[[Measured], None]
) -> None:
    job_id = house.open_job(clients=1)
    waited: list[Any] = []

    def meanwhile() -> None:
        house.advance(job_id)  # another coordinator's tick
        waited.extend(jobs.get(house.engine, job_id).waiting)

    evaluating(meanwhile)
    house.finish_round(job_id)
    assert [wait.what for wait in waited] == ["the evaluation of round 1"]
    assert waited[0].until > waited[0].since
    assert house.get(job_id).state == "done"
    assert measured(house, job_id) == [0.5]


def test_a_measurement_whose_coordinator_died_is_done_by_another(house: House) -> None:
    job_id = house.open_job(clients=1, rounds=2)

    class Died(BaseException):
        """No handler lets go of anything."""

    def dies() -> None:
        if house.round(job_id).state == "closed":
            raise Died

    house.store.before = dies
    with pytest.raises(Died):
        house.finish_round(job_id)
    house.store = ToyStore()
    house.set_round(job_id, aggregator="died", aggregator_until=time.time() + 60)
    house.advance(job_id)
    assert measured(house, job_id) == [None, None]
    house.set_round(job_id, aggregator_until=time.time() - 1)
    house.advance(job_id)
    assert measured(house, job_id) == [0.5, None]


def test_a_measurement_that_lost_its_hold_writes_nothing(
    house: House, evaluating: Callable[[Measured], None]
) -> None:
    job_id = house.open_job(clients=1, rounds=2)

    def meanwhile() -> None:
        evaluating(lambda: None)
        house.set_round(job_id, aggregator="another")

    evaluating(meanwhile)
    house.finish_round(job_id)
    assert house.count(job_id, "round-measured") <= 1
    assert house.round(job_id).aggregator == "another"
    assert measured(house, job_id) == [None, None]


def test_a_measurement_ends_when_its_job_is_cancelled(
    house: House, evaluating: Callable[[Measured], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hold, "LOOK_S", 0.02)
    job_id = house.open_job(clients=1, rounds=2)

    def meanwhile() -> None:
        jobs.cancel(house.engine, job_id)
        time.sleep(0.2)  # the watch looks, and the next batch is not begun

    evaluating(meanwhile)
    house.finish_round(job_id)
    assert house.get(job_id).state == "cancelled"
    assert measured(house, job_id) == [None, None]


def test_a_pause_lets_a_measurement_end_and_begins_none(
    house: House, evaluating: Callable[[Measured], None]
) -> None:
    job_id = house.open_job(clients=1, rounds=3)
    evaluating(lambda: life.pause(house.engine, job_id))
    house.finish_round(job_id)
    assert measured(house, job_id) == [0.5, None]
    house.advance(job_id)
    assert house.get(job_id).state == "paused"


def test_a_failed_evaluation_is_tried_again_and_holds_up_no_client(
    house: House, evaluating: Callable[[Measured], None]
) -> None:
    job_id = house.open_job(clients=1, rounds=2)
    left = iter([RuntimeError("boom")])

    def meanwhile() -> None:
        for error in left:
            raise error

    evaluating(meanwhile)
    house.finish_round(job_id)
    assert house.get(job_id).errors == 1
    assert house.claim_or_none() is not None
    house.advance(job_id)
    assert measured(house, job_id) == [0.5, None]
    assert house.get(job_id).errors == 0


def test_rounds_between_two_evaluations_are_not_measured(house: House) -> None:
    job_id = house.open_job(clients=1, rounds=5, evaluate={"every": 2})
    for _ in range(5):
        house.finish_round(job_id)
    assert measured(house, job_id) == [None, 0.5, None, 0.5, 0.5]
    kinds = [r.evaluation for r in jobs.rounds_of(house.engine, job_id)]
    assert kinds == ["none", "done", "none", "done", "done"]


def test_a_round_says_that_its_metrics_are_due(
    house: House, evaluating: Callable[[Measured], None]
) -> None:
    job_id = house.open_job(clients=1, rounds=2)
    said: list[str] = []
    evaluating(lambda: said.append(jobs.rounds_of(house.engine, job_id)[0].evaluation))
    house.finish_round(job_id)
    assert said == ["due"]


def test_an_export_waits_for_the_metrics_of_its_rounds(
    house: House, evaluating: Callable[[Measured], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = house.open_job(clients=1, rounds=2)
    monkeypatch.setattr(export, "store", lambda: house.store)
    states: list[str] = []

    def meanwhile() -> None:
        with writing(house.engine) as session:
            job_rows.ask_export(session, job_id, 1, time.time())
        export.build(job_id, 1)
        with reading(house.engine) as session:
            states.append(session.get_one(Export, (job_id, 1)).state)

    evaluating(meanwhile)
    house.finish_round(job_id)
    assert states == ["building"]


def test_the_hold_of_a_measurement_is_one_coordinators(house: House) -> None:
    job_id = house.open_job(clients=1, rounds=2)
    house.finish_round(job_id)
    house.set_round(job_id, measured_at=None)
    row, now = house.round(job_id), time.time()

    def take(fence: str) -> bool:
        with writing(house.engine) as session:
            return rounds.start_measuring(session, row, fence, time.time(), now + 60)

    assert take("first")
    assert not take("second")
    with writing(house.engine) as session:
        assert not rounds.note_measured(session, job_id, 1, "second", measured_at=now)
        assert rounds.note_measured(session, job_id, 1, "first", measured_at=now)
    assert not take("third")
