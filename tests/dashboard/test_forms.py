"""JSON schema to inputs, and their values to a job."""

from __future__ import annotations

from typing import Any

import pytest

from dashboard.form_field import Field, complaints
from dashboard.form_schema import fields
from dashboard.forms import MORE, by_section, job_fields, nest, suggest
from dashboard.refusal import Refusal
from fedkrso_core.spec import MEMORY, JobSpec, parse
from tests.dashboard.canned import METHODS

SCHEMA = JobSpec.model_json_schema()


def _job_form(**chosen: str) -> dict[str, Field]:
    names = {name.replace("__", "."): value for name, value in chosen.items()}
    return {field.path: field for field in job_fields(SCHEMA, METHODS, names)}


def _one(schema: dict[str, Any]) -> Field:
    (field,) = fields({"properties": {"x": schema}})
    return field


def test_the_defaults_of_the_form_are_a_valid_job() -> None:
    form = _job_form()
    values = {path: field.default for path, field in form.items()} | {"name": "demo"}
    job = nest(list(form.values()), values)
    assert parse(job) == parse({"name": "demo", "method": job["method"]})


def test_the_division_decides_which_inputs_it_has() -> None:
    assert "partition.alpha" in _job_form()
    shards = _job_form(partition__kind="shards")
    assert "partition.alpha" not in shards
    assert shards["partition.per_client"].default == 2


def test_the_method_decides_which_inputs_it_has() -> None:
    assert _job_form()["method.rank"].default == 4
    assert "method.rank" not in _job_form(method__name="fedavg")
    assert _job_form(method__name="fedavg")["method.momentum"].kind == "number"
    assert _job_form()["method.name"].options == ("fedkrso", "fedavg")


def test_a_method_that_the_server_does_not_know_has_no_inputs() -> None:
    form = _job_form(method__name="gone")
    assert [path for path in form if path.startswith("method.")] == ["method.name"]


def test_inputs_of_two_variants_never_share_a_key() -> None:
    assert _job_form()["method.rank"].key == "method.rank-fedkrso"
    assert _job_form()["partition.alpha"].key == "partition.alpha-dirichlet"


def test_an_input_knows_its_kind_bounds_and_help() -> None:
    rounds = _job_form()["rounds.count"]
    assert (rounds.kind, rounds.minimum, rounds.maximum) == ("integer", 1, 100_000)
    assert rounds.description == "Rounds to train"
    assert rounds.allowed == "at least 1, at most 100000"
    assert _job_form()["local.optimizer"].options == ("adamw", "sgd")


def test_what_may_be_a_number_or_fields_is_drawn_as_fields() -> None:
    form = _job_form()
    assert "rounds" not in form
    assert form["rounds.mode"].options == ("sync", "buffered")
    assert form["rounds.buffer"].optional
    job = nest(list(form.values()), {"rounds.count": 3, "rounds.mode": "sync"})
    assert job["rounds"]["count"] == 3
    assert "buffer" not in job["rounds"]


def test_a_bound_that_no_browser_holds_is_left_to_the_server() -> None:
    assert _job_form()["seed"].below is None


def test_a_field_that_may_be_null_may_be_empty() -> None:
    form = _job_form()
    assert form["data.max_rows"].kind == "integer"
    assert form["data.max_rows"].optional
    job = nest(list(form.values()), {"data.max_rows": None, "data.validation": "  "})
    assert "max_rows" not in job["data"]
    assert "validation" not in job["data"]


def test_an_optional_field_with_a_default_is_emptied_by_null() -> None:
    field = _one({"anyOf": [{"type": "integer"}, {"type": "null"}], "default": 5})
    assert nest([field], {"x": ""}) == {"x": None}
    assert nest([field], {"x": "7"}) == {"x": 7}


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "boolean", "default": True}, "boolean"),
        ({"enum": ["a", "b"], "type": "string"}, "choice"),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, "choice"),
        ({"type": "array", "items": {"type": "string"}}, "list"),
        ({"type": "array", "items": {"enum": ["a", "b"], "type": "string"}}, "choices"),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "word"),
        ({"anyOf": [{"type": "array"}, {"type": "string"}]}, "json"),
        ({"type": "object"}, "json"),
    ],
)
def test_every_kind_of_schema_has_an_input(schema: dict[str, Any], kind: str) -> None:
    assert _one(schema).kind == kind


def test_an_option_of_several_says_what_it_does() -> None:
    memory = _job_form()["local.memory"]
    assert memory.kind == "choices"
    assert memory.default == ["dropout-bits", "attention-recompute"]
    assert dict(zip(memory.options, memory.details, strict=True)) == MEMORY
    assert nest([memory], {"local.memory": []}) == {"local": {"memory": []}}


@pytest.mark.parametrize(
    ("typed", "value"), [("50MB", "50MB"), ("6000", 6000), ("1.5 GB", "1.5 GB")]
)
def test_a_limit_is_a_size_or_a_number(typed: str, value: object) -> None:
    limit = _job_form()["budget.memory"]
    assert (limit.kind, limit.optional) == ("word", True)
    assert nest([limit], {"budget.memory": typed}) == {"budget": {"memory": value}}
    assert nest([limit], {"budget.memory": " "}) == {}


def test_a_list_is_typed_with_commas() -> None:
    field = _one({"type": "array", "items": {"type": "string"}})
    assert nest([field], {"x": "query, value,"}) == {"x": ["query", "value"]}


def test_a_nested_model_of_a_method_is_found_through_its_reference() -> None:
    schema = {
        "$defs": {"Noise": {"properties": {"sigma": {"type": "number", "default": 1.0}}}},
        "properties": {"noise": {"$ref": "#/$defs/Noise", "default": {"sigma": 2.0}}},
    }
    (field,) = fields(schema, prefix="method")
    assert (field.path, field.default) == ("method.noise.sigma", 2.0)


def test_suggestions_leave_the_other_inputs_alone() -> None:
    found = suggest(list(_job_form().values()), {"model": ["minilm"]})
    kinds = {field.path: field.kind for field in found}
    assert kinds["model"] == "suggest"
    assert kinds["name"] == "text"


def test_what_no_section_names_is_under_more_options() -> None:
    sections = by_section(list(_job_form().values()))
    assert list(sections) == ["Job", "Data", "Clients", "Local training", "Method", "Budget", MORE]
    assert "seed" in {field.path for field in sections[MORE]}


def test_a_number_outside_of_its_bounds_is_told_before_the_server_is_asked() -> None:
    form = _job_form()
    assert complaints(form["local.lr"], 0.0) == ["0: allowed is more than 0"]
    assert complaints(form["local.lr"], 0.1) == []
    assert complaints(form["rounds.count"], None) == []


def test_a_message_of_the_server_goes_when_its_value_changes() -> None:
    errors = [{"field": "rounds", "message": "0: too few"}]
    refusal = Refusal("Wrong job", errors, {"rounds": 0})
    assert refusal.messages("rounds", 0) == ["0: too few"]
    assert refusal.messages("rounds", 3) == []
    assert refusal.messages("name", "demo") == []


def test_the_summary_names_wrong_fields_that_the_form_does_not_have() -> None:
    errors = [{"field": "rounds.count", "message": "0"}, {"field": "job", "message": "odd"}]
    text = Refusal("Wrong job", errors).summary(list(_job_form().values()))
    assert text.splitlines() == [
        "The job was not accepted: 2 fields are wrong.",
        "",
        "- **Rounds**: 0",
        "- **job**: odd",
    ]


def test_tasks_and_options_of_any_method_are_asked_for() -> None:
    found = _job_form()
    assert found["task"].options == ("classification", "regression", "causal-lm")
    assert found["server.optimizer"].label == "Optimizer of the server"
    assert found["correction.kind"].options == ("none", "fedprox", "scaffold")
    assert found["weighting"].options == ("examples", "uniform")
    assert found["data.prompt"].optional
