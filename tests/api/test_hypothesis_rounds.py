"""Random interleavings of everything that clients and coordinators can do, on both databases."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from api import settings as settings_module
from api.assignment_schemas import AssignmentOut
from api.db.jobs import OPEN_STATES
from api.db.session import engine_of
from api.db.tables import Assignment
from api.errors import ApiError
from api.services import jobs
from fedkrso_core.budget import DIGITS
from fedkrso_core.errors import PayloadError
from tests.api import books, databases
from tests.api.buffering import replayed
from tests.api.house import House, toy_update
from tests.api.process import forget

CLIENTS, ROUNDS = 3, 2
SIZE = len(toy_update())


class Rounds(RuleBasedStateMachine):
    """A job whose workers and coordinators come in any order."""

    fresh: ClassVar[Callable[[Path], str]]
    failure: ClassVar[str] = "clients failed"
    rounds: ClassVar[Any] = ROUNDS
    limits: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="fedkrso-rounds-"))
        self.patch = pytest.MonkeyPatch()
        url = type(self).fresh(self.folder)
        for name, value in {"HOME": self.folder, "DATABASE_URL": url, "THREADS": 1}.items():
            self.patch.setenv(f"FEDKRSO_{name}", str(value))
        self.patch.setattr("api.queue._send", lambda *_: None)
        forget()
        self.house = House(settings_module.settings(), engine_of(url), self.patch)
        self.house.settings.max_attempts = 3
        self.job = self.house.job(CLIENTS, self.rounds, **self.limits)
        self.claimed: list[AssignmentOut] = []
        self.accepted: dict[str, str] = {}
        self.closed_before = 0

    def teardown(self) -> None:
        if self.house.get(self.job).state in OPEN_STATES:
            self.job_ends()
        forget()
        self.patch.undo()
        shutil.rmtree(self.folder)

    def job_ends(self) -> None:
        """However it came here, honest workers and a coordinator bring the job to its end."""
        for _ in range(ROUNDS + 1):
            for seat in self.house.seats(self.job):
                if seat.state == "leased":
                    self.house.lease_runs_out(seat.id)
            self.house.advance(self.job)
            self.finish_round()
        self.the_books_add_up()
        self.rounds_are_what_was_counted()
        job = self.house.get(self.job)
        assert job.state in ("done", "failed")
        if job.state == "done":
            closed = job.rounds_closed
            assert [row.state for row in self.house.rounds(self.job)] == ["closed"] * (closed + 1)
            assert (closed == ROUNDS) == (job.reason is None)
            assert job.model_sha256 is not None
        else:
            assert job.reason is not None
            assert self.failure in job.reason

    def finish_round(self) -> None:
        while (seat := self.house.claim_or_none()) is not None:
            self.send(seat, 1.0)
        self.house.advance(self.job)

    def send(self, seat: AssignmentOut, value: float) -> None:
        self.accepted[seat.id] = self.house.hand_in(seat, toy_update((value, value))).digest

    @rule()
    def advance(self) -> None:
        self.house.advance(self.job)

    @rule(worker=st.sampled_from("ab"))
    def claim(self, worker: str) -> None:
        if (seat := self.house.claim_or_none(worker)) is not None:
            self.claimed.append(seat)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def heartbeat(self, data: st.DataObject) -> None:
        self.try_with(data, self.house.heartbeat)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def fetch(self, data: st.DataObject) -> None:
        self.try_with(data, self.house.fetch)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data(), value=st.sampled_from([1.0, 2.0]))
    def hand_in(self, data: st.DataObject, value: float) -> None:
        self.try_with(data, lambda seat: self.send(seat, value))

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def hand_in_nonsense(self, data: st.DataObject) -> None:
        self.try_with(data, self.is_refused)

    def is_refused(self, seat: AssignmentOut) -> None:
        with pytest.raises(PayloadError):
            self.house.hand_in(seat, toy_update((math.nan, 1.0)))

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        self.try_with(data, self.house.give_back)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        seat = data.draw(st.sampled_from(self.claimed))
        if self.house.seat(seat.id).state == "leased":
            self.house.lease_runs_out(seat.id)

    @rule(number=st.integers(1, ROUNDS))
    def deadline(self, number: int) -> None:
        done = [s for s in self.house.seats(self.job, number) if s.state == "done"]
        if 2 * len(done) >= CLIENTS:  # with less the job would end as it should
            self.house.deadline_passes(self.job, number)

    def try_with(self, data: st.DataObject, act: Callable[[AssignmentOut], object]) -> None:
        """A lease may be stale by now: then it is refused, and nothing else happens."""
        seat = data.draw(st.sampled_from(self.claimed))
        status = 409
        try:
            act(seat)
        except ApiError as error:
            status = error.status
        assert status == 409

    @invariant()
    def the_books_add_up(self) -> None:
        seats = self.house.seats(self.job)
        assert len({(seat.number, seat.client) for seat in seats}) == len(seats)
        books.seats_are_possible(self.house, seats)
        self.updates_are_counted(seats)

    def updates_are_counted(self, seats: Sequence[Assignment]) -> None:
        books.updates_are_counted_once(seats, self.accepted)

    def rounds_are_what_was_counted(self) -> None:
        books.rounds_are_the_mean_of_their_updates(self.house, self.job)

    @invariant()
    def each_round_closes_once_and_in_order(self) -> None:
        kinds = Counter(event.kind for event in self.house.events(self.job))
        job = self.house.get(self.job)
        assert kinds["update"] == len(self.accepted)
        assert job.rounds_closed >= self.closed_before
        assert job.rounds_closed == kinds["round-closed"]
        assert kinds["round-opened"] <= job.rounds_closed + 1
        if job.rounds_closed > self.closed_before:
            self.rounds_are_what_was_counted()
        self.closed_before = job.rounds_closed

    @invariant()
    def nothing_unforeseen_happened(self) -> None:
        assert self.house.get(self.job).errors == 0


class LimitedRounds(Rounds):
    """The same with a budget that nonsense uses up."""

    limits: ClassVar[dict[str, Any]] = {
        "budget": {"bytes_up": CLIENTS * ROUNDS * SIZE},
        "forecast_up": [CLIENTS * SIZE] * ROUNDS,
    }

    opened = False

    @invariant()
    def nothing_is_opened_beyond_the_budget(self) -> None:
        seats = self.house.seats(self.job)
        if self.opened or not seats or seats[-1].number < ROUNDS:
            return
        self.opened = True  # what is sent in vain from now on comes too late for the decision
        spent = sum(seat.bytes_up + seat.bytes_up_lost for seat in seats)
        room = self.limits["budget"]["bytes_up"] + DIGITS * CLIENTS * (ROUNDS - 1)
        assert spent + CLIENTS * SIZE <= room


class BufferedRounds(Rounds):
    """The same with rounds that close at two updates of three clients."""

    failure = "needed"
    rounds: ClassVar[Any] = {
        "count": ROUNDS,
        "mode": "buffered",
        "buffer": 2,
        "staleness": "constant",
        "max_staleness": 1,
    }

    def updates_are_counted(self, seats: Sequence[Assignment]) -> None:
        """What the job ended without is cancelled; the rest is as in any job."""
        late = {seat.id for seat in seats if seat.error == "the job ended before it was counted"}
        counted = {seat: digest for seat, digest in self.accepted.items() if seat not in late}
        books.updates_are_counted_once(seats, counted)

    def rounds_are_what_was_counted(self) -> None:
        for row in self.house.rounds(self.job)[1:]:
            if row.state == "closed":
                assert replayed(self.house, self.job, row.number) == row.digest

    @invariant()
    def each_client_has_one_update_of_a_round(self) -> None:
        counted = [
            (seat.counted_in, seat.client)
            for seat in self.house.seats(self.job)
            if seat.counted_in is not None
        ]
        assert len(set(counted)) == len(counted)

    @invariant()
    def every_update_is_in_one_round(self) -> None:
        last = self.house.get(self.job).rounds_closed
        for seat in self.house.seats(self.job):
            if seat.state == "done":
                assert seat.counted_in is not None
                assert seat.number <= seat.counted_in <= min(seat.number + 1, last + 1)
            else:
                assert seat.counted_in is None


class CancelledRounds(Rounds):
    """The same with a user who may cancel the job at any moment."""

    @rule(sure=st.sampled_from([False, False, False, True]))
    def cancel(self, sure: bool) -> None:
        if sure and self.house.get(self.job).state in OPEN_STATES:
            jobs.cancel(self.house.engine, self.job)

    @invariant()
    def a_cancelled_job_has_no_work(self) -> None:
        if self.house.get(self.job).state == "cancelled":
            assert self.house.claim_or_none() is None
            assert {s.state for s in self.house.seats(self.job)} <= {"done", "failed", "cancelled"}


def search(machine: type[Rounds], share: int) -> None:
    """Tries a share of the profile's number of examples."""
    case = machine.TestCase
    case.settings = settings(
        max_examples=settings.default.max_examples // share,
        stateful_step_count=25,
        suppress_health_check=list(HealthCheck),
    )
    case().runTest()


MACHINES = [Rounds, LimitedRounds, BufferedRounds, CancelledRounds]


@pytest.mark.parametrize("machine", MACHINES)
def test_no_order_of_events_breaks_the_rounds(sqlite_template: Path, machine: type[Rounds]) -> None:
    Rounds.fresh = lambda folder: databases.copy_of_sqlite(sqlite_template, folder / "test.db")
    search(machine, share=10)


@pytest.mark.services
@pytest.mark.parametrize("machine", MACHINES)
def test_no_order_of_events_breaks_them_on_postgresql(
    postgres_database: str, machine: type[Rounds]
) -> None:
    Rounds.fresh = lambda _: databases.emptied(postgres_database)
    search(machine, share=25)
