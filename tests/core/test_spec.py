"""The job file: each mistake is named with its field, its value and what is allowed."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fedkrso_core.errors import Problem, SpecError
from fedkrso_core.spec import EXAMPLE, ByColumn, Dirichlet, Iid, JobSpec, Shards, parse, read


def problems(data: Any) -> list[Problem]:
    with pytest.raises(SpecError) as refused:
        parse(data)
    return list(refused.value.problems)


def test_the_example_is_a_job() -> None:
    assert parse(EXAMPLE).method.options == {"rank": 16, "seeds": 10, "interval": 10}


def test_a_name_is_all_a_job_needs() -> None:
    spec = parse({"name": "x"})
    assert (spec.model, spec.data.train, spec.method.name) == ("minilm", "pydocs", "fedkrso")
    assert spec.partition == Dirichlet(alpha=0.5)


def test_a_job_survives_json() -> None:
    spec = parse(EXAMPLE)
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("partition", "expected"),
    [
        ({"kind": "iid"}, Iid()),
        ({"kind": "dirichlet", "alpha": 2}, Dirichlet(alpha=2.0)),
        ({"kind": "shards", "per_client": 3}, Shards(per_client=3)),
        ({"kind": "by-column", "column": "owner"}, ByColumn(column="owner")),
    ],
)
def test_each_kind_of_partition_is_read(partition: dict[str, Any], expected: object) -> None:
    assert parse({"name": "x", "partition": partition}).partition == expected


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown field": ({"roundz": 3}, "roundz", "no such field; allowed: name, model, task"),
    "unknown field of a section": (
        {"local": {"lrr": 1}},
        "local.lrr",
        "allowed: steps, batch_size",
    ),
    "unknown field of clients": ({"clients": {"n": 1}}, "clients.n", "allowed: count, per_round"),
    "unknown field of a partition": (
        {"partition": {"kind": "dirichlet", "alfa": 1}},
        "partition.alfa",
        "no such field; allowed: kind, alpha",
    ),
    "another partition's field": (
        {"partition": {"kind": "iid", "alpha": 1}},
        "partition.alpha",
        "no such field; allowed: kind",
    ),
    "no clients": ({"clients": {"count": 0}}, "clients.count", "0: .*greater than or equal to 1"),
    "more per round than there are": (
        {"clients": {"count": 3, "per_round": 4}},
        "clients.per_round",
        "4 of 3 clients; allowed: 1 to 3",
    ),
    "more per round than the default count": (
        {"clients": {"per_round": 9}},
        "clients.per_round",
        "9 of 8 clients; allowed: 1 to 8",
    ),
    "a quorum above the round": (
        {"clients": {"min_clients": 5}},
        "clients.min_clients",
        "5 of 4 clients in a round; allowed: 1 to 4",
    ),
    "a quorum of nobody": ({"clients": {"min_clients": 0}}, "clients.min_clients", "0: .*equal to"),
    "more extra than there are": (
        {"clients": {"count": 5, "select_extra": 2}},
        "clients.select_extra",
        r"4 \+ 2 of 5 clients; allowed: 0 to 1",
    ),
    "fewer clients than the default round": (
        {"clients": {"count": 3}},
        "clients.per_round",
        "4 of 3 clients; allowed: 1 to 3",
    ),
    "no attempt": ({"clients": {"attempts": 0}}, "clients.attempts", "0: .*equal to 1"),
    "no time for a round": ({"round_timeout_s": 0}, "round_timeout_s", "0: .*greater than 0"),
    "too high a priority": ({"priority": 1001}, "priority", "1001: .*less than or equal to 1000"),
    "half a priority": ({"priority": 0.5}, "priority", "0.5: .*valid integer"),
    "none per round": ({"clients": {"per_round": 0}}, "clients.per_round", "0: .*equal to 1"),
    "unknown kind": (
        {"partition": {"kind": "random"}},
        "partition.kind",
        "'random' is none of iid, dirichlet, shards, by-column",
    ),
    "no kind": ({"partition": {"alpha": 1}}, "partition.kind", "None is none of iid, dirichlet"),
    "a partition that is a word": ({"partition": "iid"}, "partition.*", "'iid'"),
    "zero alpha": (
        {"partition": {"kind": "dirichlet", "alpha": 0}},
        "partition.alpha",
        "0: .*greater than 0",
    ),
    "infinite alpha": (
        {"partition": {"kind": "dirichlet", "alpha": float("inf")}},
        "partition.alpha",
        "inf: .*finite number",
    ),
    "a rate that is no number": ({"local": {"lr": float("nan")}}, "local.lr", "nan: .*"),
    "a text for a number": ({"rounds": "many"}, "rounds", "'many': .*valid integer"),
    "half a round": ({"rounds": 1.5}, "rounds", "1.5: .*valid integer"),
    "a list for a section": ({"local": [1]}, "local", r"\[1\]: .*"),
    "unknown optimizer": ({"local": {"optimizer": "lion"}}, "local.optimizer", "'adamw' or 'sgd'"),
    "unknown task": (
        {"task": "chat"},
        "task",
        "'chat': .*'regression' or 'causal-lm'",
    ),
    "negative seed": ({"seed": -1}, "seed", "-1: .*greater than or equal to 0"),
    "seed above 63 bits": ({"seed": 2**63}, "seed", "less than"),
    "full weight decay": ({"local": {"weight_decay": 1}}, "local.weight_decay", "1: .*less than 1"),
    "empty model": ({"model": ""}, "model", "'': .*at least 1 character"),
    "a method without its name's text": ({"method": {"name": 3}}, "method.name", "3: .*string"),
    "a method that is a word": ({"method": "fedavg"}, "method", "'fedavg': .*"),
    "an empty name": ({"name": ""}, "name", "'': .*at least 1 character"),
}


@pytest.mark.parametrize(("changes", "field", "message"), WRONG.values(), ids=WRONG)
def test_a_mistake_names_field_value_and_what_is_allowed(
    changes: dict[str, Any], field: str, message: str
) -> None:
    (problem,) = problems({"name": "x", **changes})
    assert problem.field == field or field.endswith("*")
    with pytest.raises(SpecError, match=message):
        parse({"name": "x", **changes})


def test_a_missing_name_is_required() -> None:
    (problem,) = problems({})
    assert (problem.field, problem.message) == ("name", "is required")


def test_every_mistake_is_reported_at_once() -> None:
    found = problems({"rounds": 0, "local": {"lr": -1, "steps": 0}, "typo": 1})
    fields = {problem.field for problem in found}
    assert fields == {"name", "rounds", "local.lr", "local.steps", "typo"}


def test_the_problem_carries_the_value() -> None:
    (problem,) = problems({"name": "x", "rounds": -7})
    assert problem.value == -7


def test_a_long_value_is_shortened() -> None:
    (problem,) = problems({"name": "x", "rounds": "9" * 500})
    assert len(problem.message) < 200


@pytest.mark.parametrize("data", [None, [], "job", 3, True], ids=repr)
def test_a_job_is_a_mapping(data: Any) -> None:
    (problem,) = problems(data)
    assert str(problem) == f"job: is a mapping of fields, not {type(data).__name__}"


@given(st.dictionaries(st.sampled_from(list(JobSpec.model_fields)), st.integers() | st.text()))
def test_no_mapping_gives_another_error(data: dict[str, Any]) -> None:
    with suppress(SpecError):
        parse(data)


def test_a_yaml_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(EXAMPLE), encoding="utf-8")
    assert read(tmp_path / "job.yaml") == parse(EXAMPLE)


@pytest.mark.parametrize("text", ["{", "a: b: c", "- [", "\x00"], ids=repr)
def test_a_file_that_is_not_yaml_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match=r"job\.yaml: is not YAML: "):
        read(tmp_path / "job.yaml")


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(SpecError, match=r"job\.yaml: is not YAML: "):
        read(tmp_path / "job.yaml")


def test_an_empty_file_is_no_job(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("")
    with pytest.raises(SpecError, match="job: is a mapping of fields, not NoneType"):
        read(tmp_path / "job.yaml")


def test_yaml_cannot_run_code(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("name: !!python/object/apply:os.getcwd []")
    with pytest.raises(SpecError, match="is not YAML"):
        read(tmp_path / "job.yaml")


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError, match="cannot be read: "):
        read(tmp_path / name)
