"""`rounds` of a job file: a number or fields."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fedkrso_core.errors import SpecError
from fedkrso_core.rounds_spec import RoundsSpec, of_stored
from fedkrso_core.spec import JobSpec, parse


def test_a_number_stands_for_a_count() -> None:
    assert parse({"name": "x", "rounds": 9}) == parse({"name": "x", "rounds": {"count": 9}})
    assert parse({"name": "x"}).rounds == RoundsSpec(count=6)


def test_a_stored_job_has_the_fields_and_an_old_one_may_have_the_number() -> None:
    stored = parse({"name": "x", "rounds": 9}).model_dump(mode="json")
    assert stored["rounds"]["count"] == 9
    assert JobSpec.model_validate(stored).rounds == of_stored(stored["rounds"]) == of_stored(9)


def test_both_forms_are_in_the_schema() -> None:
    schema = JobSpec.model_json_schema()
    number, fields = schema["properties"]["rounds"]["anyOf"]
    assert (number["type"], number["minimum"], number["maximum"]) == ("integer", 1, 100_000)
    assert "buffer" in schema["$defs"][fields["$ref"].rpartition("/")[2]]["properties"]


@pytest.mark.parametrize(
    ("rounds", "field", "message"),
    [
        (0, "rounds", "greater than or equal to 1"),
        ([], "rounds", "valid integer"),
        (None, "rounds", "valid integer"),
        ({"count": 0}, "rounds.count", "greater than or equal to 1"),
        ({"mode": "async"}, "rounds.mode", "'sync' or 'buffered'"),
        ({"mode": "buffered", "buffer": 5}, "rounds.buffer", "5 of 4 clients at work; .* 1 to 4"),
        ({"mode": "buffered", "buffer": 0}, "rounds.buffer", "greater than or equal to 1"),
        ({"mode": "buffered", "staleness": "x"}, "rounds.staleness", "'polynomial' or 'constant'"),
        ({"mode": "buffered", "max_staleness": -1}, "rounds.max_staleness", "than or equal to 0"),
        ({"buffer": 2}, "rounds.buffer", "2 is for mode buffered; with mode sync leave it out"),
        ({"max_staleness": 2}, "rounds.max_staleness", "is for mode buffered"),
        ({"bufer": 2}, "rounds.bufer", "no such field; allowed: count, mode, buffer"),
    ],
)
def test_what_is_wrong_is_named(rounds: Any, field: str, message: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse({"name": "x", "rounds": rounds})
    (problem,) = refused.value.problems
    assert problem.field == field
    assert re.search(message, problem.message), problem.message
