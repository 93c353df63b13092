"""The clients of a job file: numbers of both kinds add up, or the error says what does not."""

from __future__ import annotations

from typing import Any

import pytest

from fedkrso_core.clients import ClientsSpec
from fedkrso_core.errors import SpecError
from fedkrso_core.spec import parse


def clients(**given: Any) -> ClientsSpec:
    return parse({"name": "a", "clients": given}).clients


def refused(**given: Any) -> str:
    with pytest.raises(SpecError) as error:
        clients(**given)
    return str(error.value)


def test_both_kinds_are_counted_together_and_all_train_in_each_round() -> None:
    made = clients(simulated=4, external={"min": 2, "select": {"labels": {"site": "eu"}}})
    assert (made.count, made.per_round, made.shares) == (6, 6, 4)
    assert made.external is not None
    assert made.external.select.labels == {"site": "eu"}


def test_there_may_be_more_places_than_must_be_taken() -> None:
    made = clients(simulated=1, external={"min": 2, "max": 5}, per_round=3)
    assert (made.count, made.per_round, made.shares) == (6, 3, 1)


def test_a_job_may_have_external_clients_alone() -> None:
    assert clients(external={"min": 2}).shares == 0


def test_without_external_clients_the_numbers_mean_what_they_always_did() -> None:
    assert clients(count=5, per_round=2).shares == 5
    assert (clients(simulated=5).count, clients(simulated=5).per_round) == (5, 5)
    assert clients().external is None


def test_what_is_stored_is_read_again() -> None:
    made = clients(simulated=4, external={"min": 2, "max": 3})
    assert clients(**made.model_dump(mode="json")) == made
    old = {"count": 8, "per_round": 4, "min_clients": None, "select_extra": 0, "attempts": None}
    assert ClientsSpec.model_validate(old).shares == 8


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"count": 8, "simulated": 4, "external": {"min": 2}}, "count is 8, simulated 4 + 2"),
        ({"count": 8, "simulated": 4}, "count is 8, simulated 4 + 0"),
        ({"simulated": 1, "external": {"min": 3, "max": 2}}, "2 places for at least 3 clients"),
        ({"simulated": 4, "external": {"min": 0}}, "clients.external.min: 0"),
        ({"simulated": 4, "external": {"min": "many"}}, "clients.external.min: 'many'"),
        ({"simulated": 4, "external": {"min": 1, "who": 1}}, "clients.external.who: no such field"),
        ({"simulated": 2, "external": {"min": 1}, "per_round": 4}, "4 of 3 clients"),
        ({"simulated": -1}, "clients.simulated: -1"),
    ],
)
def test_numbers_that_do_not_fit_are_named(given: dict[str, Any], said: str) -> None:
    assert said in refused(**given)
