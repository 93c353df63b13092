"""Which states make the model of a round, and which of them a client lacks."""

from dataclasses import replace

import pytest

from fedkrso_core.engine import lacking, needed
from fedkrso_core.methods import METHODS

JOURNAL, NEWEST_ONLY = METHODS["fedkrso"], METHODS["fedavg"]
LAST_THREE = replace(NEWEST_ONLY, window=lambda _: 3)


@pytest.mark.parametrize(
    ("have", "number", "rounds"),
    [(None, 1, [0]), (None, 4, [0, 1, 2, 3]), (0, 2, [1]), (1, 4, [2, 3]), (3, 4, [])],
)
def test_with_a_journal_a_client_lacks_all_it_was_not_sent(
    have: int | None, number: int, rounds: list[int]
) -> None:
    assert list(lacking(JOURNAL, None, have, number)) == rounds


@pytest.mark.parametrize(("have", "number"), [(None, 1), (None, 4), (1, 4), (2, 4)])
def test_without_a_journal_a_client_lacks_the_newest(have: int | None, number: int) -> None:
    assert list(lacking(NEWEST_ONLY, None, have, number)) == [number - 1]


def test_a_journal_needs_every_state_before_the_round() -> None:
    assert [list(needed(JOURNAL, None, n)) for n in (1, 3)] == [[0], [0, 1, 2]]


def test_without_a_journal_the_newest_state_is_needed() -> None:
    assert [list(needed(NEWEST_ONLY, None, n)) for n in (1, 3)] == [[0], [2]]


def test_with_a_window_the_newest_states_are_needed() -> None:
    assert [list(needed(LAST_THREE, None, n)) for n in (1, 3, 6)] == [[0], [0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(("have", "rounds"), [(None, [3, 4, 5]), (1, [3, 4, 5]), (4, [5]), (5, [])])
def test_with_a_window_a_client_lacks_those_it_was_not_sent(
    have: int | None, rounds: list[int]
) -> None:
    assert list(lacking(LAST_THREE, None, have, 6)) == rounds
