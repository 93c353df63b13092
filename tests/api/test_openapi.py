from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from api.main import app
from api.schemas import EstimateOut
from fedkrso_core.spec import EXAMPLE, JobSpec, parse

Json = dict[str, Any]
SCHEMA: Json = app.openapi()
METHODS = {"get", "post", "put", "delete", "patch"}


def operations() -> Iterator[tuple[str, Json]]:
    for path, item in SCHEMA["paths"].items():
        for method in METHODS & set(item):
            yield f"{method.upper()} {path}", item[method]


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_operation_says_what_it_does() -> None:
    assert not [name for name, operation in operations() if not operation.get("description")]


def test_every_operation_has_a_tag() -> None:
    assert {tuple(operation["tags"]) for _, operation in operations()} == {
        ("jobs",),
        ("service",),
        ("clients",),
        ("catalogue",),
        ("uploads",),
        ("users",),
        ("projects",),
        ("keys",),
        ("audit",),
        ("invitations",),
        ("enrolment",),
        ("external clients",),
        ("this client",),
        ("health",),
    }


def test_refusals_are_documented_as_problem_documents() -> None:
    for name, operation in operations():
        refusals = {s: r for s, r in operation["responses"].items() if s.startswith(("4", "5"))}
        if not name.endswith("z"):  # /healthz and /readyz
            assert {"401", "403"} <= set(refusals), name
        for status, response in refusals.items():
            assert "application/problem+json" in response["content"], (name, status)


def test_a_parameter_in_the_path_can_be_unknown() -> None:
    for name, operation in operations():
        if "_id}" in name:
            assert "404" in operation["responses"], name


def test_every_reference_leads_somewhere() -> None:
    for reference in set(references(SCHEMA)):
        node: Any = SCHEMA
        for part in reference.removeprefix("#/").split("/"):
            assert part in node, reference
            node = node[part]


def test_every_operation_has_its_own_name() -> None:
    names = [operation["operationId"] for _, operation in operations()]
    assert len(names) == len(set(names))


def test_the_example_job_is_a_job() -> None:
    example = JobSpec.model_json_schema()["example"]
    assert example == EXAMPLE
    assert parse(example).name == "demo"


def test_the_example_of_an_estimate_is_one_and_adds_up() -> None:
    example = SCHEMA["components"]["schemas"]["EstimateOut"]["example"]
    estimate = EstimateOut.model_validate(example)
    assert estimate.model_dump(mode="json", exclude_none=True) == example
    (own,) = estimate.forecasts
    assert own.traffic is not None
    assert own.traffic.bytes_up == sum(round_.bytes_up for round_ in own.traffic.rounds)
    assert own.memory is not None
    parts = own.memory
    assert parts.peak == parts.weights + parts.gradients + parts.optimizer + parts.activations


def test_every_field_of_the_job_file_says_what_it_is() -> None:
    schema = JobSpec.model_json_schema()
    groups = {"data", "partition", "clients", "local", "method", "evaluate", "budget", "robust"}
    groups |= {"server", "correction", "wire"}
    undocumented = [
        f"{model}.{name}"
        for model, part in [("JobSpec", schema), *schema["$defs"].items()]
        for name, field in part["properties"].items()
        if "description" not in field and name not in {*groups, "kind"}
    ]
    assert undocumented == []
