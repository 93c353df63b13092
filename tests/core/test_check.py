"""Checks at submit: what needs the method, the model or the data is refused before it runs."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedkrso_core.check import check
from fedkrso_core.errors import Problem, SpecError
from fedkrso_core.methods import METHODS
from fedkrso_core.spec import JobSpec

Jobs = Callable[..., JobSpec]


def problem(spec: JobSpec) -> Problem:
    with pytest.raises(SpecError) as refused:
        check(spec)
    (only,) = refused.value.problems
    return only


WRONG: dict[str, tuple[dict[str, Any], str, Any, str]] = {
    "unknown method": (
        {"method": {"name": "fedfoo"}},
        "method.name",
        "fedfoo",
        f"'fedfoo' is no method; allowed: {', '.join(sorted(METHODS))}",
    ),
    "unknown option": (
        {"method": {"name": "fedkrso", "rnk": 4}},
        "method.rnk",
        4,
        "no such field; allowed: rank, seeds, interval",
    ),
    "an option out of range": (
        {"method": {"name": "fedkrso", "rank": 0}},
        "method.rank",
        0,
        "0: input should be greater than or equal to 1",
    ),
    "an option of another method": (
        {"method": {"name": "fedavg", "rank": 4}},
        "method.rank",
        4,
        "no such field",
    ),
    "a rank above the layer's size": (
        {"method": {"name": "fedkrso", "rank": 33}},
        "method.rank",
        33,
        "33 is above the size of layer bert.encoder.layer.0.attention.self.query (32, 32); "
        "allowed: 1 to 32",
    ),
    "an adapter's rank above the layer's size": (
        {"method": {"name": "fedit", "rank": 33}},
        "method.rank",
        33,
        "allowed: 1 to 32",
    ),
    "unknown targets": (
        {"method": {"name": "fedkrso", "targets": ["q_proj"]}},
        "method.targets",
        ("q_proj",),
        "['q_proj'] match no layer; there are [",
    ),
    "a missing column": (
        {"data": {"text": "sentence"}},
        "data.text",
        "sentence",
        "it has: text, label, owner",
    ),
    "a missing column of owners": (
        {"partition": {"kind": "by-column", "column": "hospital"}},
        "partition.column",
        "hospital",
        "it has: text, label, owner",
    ),
    "a missing data file": (
        {"data": {"train": "no/such/rows.jsonl"}},
        "data.train",
        "no/such/rows.jsonl",
        "there is no file no/such/rows.jsonl",
    ),
    "more clients than owners": (
        {"clients": {"count": 4}},
        "partition",
        "by-column",
        "column 'owner' has 3 values for 4 clients",
    ),
    "more clients than rows": (
        {"clients": {"count": 121}, "partition": {"kind": "iid"}},
        "partition",
        "iid",
        "121 clients cannot share 120 rows",
    ),
    "an unknown model": (
        {"model": "./no-model"},
        "model",
        "./no-model",
        "'./no-model' is not a folder; allowed: minilm, bytes, a local folder",
    ),
    "a model of the hub offline": (
        {"model": "no-org/no-model"},
        "model",
        "no-org/no-model",
        "'no-org/no-model' cannot be loaded; allowed: minilm",
    ),
    "more tokens than positions": (
        {"local": {"max_length": 33}},
        "local.max_length",
        33,
        "33 tokens; the model takes 4 to 32",
    ),
}


@pytest.mark.parametrize(("changes", "field", "value", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_run_names_field_value_and_what_is_allowed(
    job: Jobs, changes: dict[str, Any], field: str, value: Any, message: str
) -> None:
    found = problem(job(**changes))
    assert (found.field, found.value) == (field, value)
    assert re.search(re.escape(message), found.message)


@pytest.mark.parametrize("name", METHODS)
def test_a_checked_job_has_every_default_of_its_method(job: Jobs, name: str) -> None:
    completed = check(job(method={"name": name})).spec
    assert completed.method.options == METHODS[name].Config().model_dump(mode="json")
    assert check(completed).spec == completed


def test_what_was_given_is_kept(job: Jobs) -> None:
    given = {"name": "fedkrso", "rank": 2, "targets": ["query", "value"]}
    options = check(job(method=given)).spec.method.options
    assert options["rank"] == 2
    assert list(options["targets"]) == ["query", "value"]


def test_a_checked_job_survives_json(job: Jobs) -> None:
    completed = check(job(method={"name": "fedkrso", "targets": ["query"]})).spec
    again = JobSpec.model_validate_json(completed.model_dump_json())
    assert again.model_dump(mode="json") == completed.model_dump(mode="json")
    assert check(again).spec == again


def test_the_outline_of_the_data_is_told(job: Jobs) -> None:
    outline = check(job())
    assert sorted(outline.num_examples) == [24, 36, 60]
    assert outline.labels == ["animals", "tools", "weather"]
    assert outline.data_sha256 == check(job(rounds=9)).data_sha256


def test_other_rows_have_another_digest(job: Jobs) -> None:
    assert check(job()).data_sha256 != check(job(data={"max_rows": 100})).data_sha256


def test_all_positions_of_the_model_may_be_used(job: Jobs) -> None:
    check(job(local={"max_length": 32}))


def test_checking_writes_nothing(job: Jobs, tmp_path: Path) -> None:
    check(job())
    assert list(tmp_path.iterdir()) == []
