"""schemathesis against every route of the OpenAPI document, on both databases.

Routes are read from the application: a new one is tested without a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.generation.case import Case
from schemathesis.python.asgi import ASGIClient, shutdown_lifespans
from schemathesis.specs.openapi import checks

from api.main import app
from tests.api.house import House
from tests.api.seeded import Seeded

Json = dict[str, Any]
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.unsupported_method,
    checks.allow_header_conformance,
]
# most of what can be wrong with a job is known to the tests of its schema, and each check loads it
A_JOB = {"include-path-regex": "^/v1/jobs(:estimate)?$", "phases": {"coverage": {"enabled": False}}}
CONFIG = schemathesis.Config.from_dict(
    {
        # the same requests in every run
        "generation": {"max-examples": 10, "deterministic": True, "database": "none"},
        "request-timeout": 120,
        "operations": [A_JOB],
        # the database stays between the requests to a route, and is meant to
        "suppress-health-check": ["all"],
    }
)
described = schemathesis.openapi.from_dict(app.openapi(), config=CONFIG)


@pytest.fixture
def seeded(house: House, monkeypatch: pytest.MonkeyPatch) -> Seeded:
    monkeypatch.setattr("api.queue._send", lambda *_: None)
    return Seeded(house)


@pytest.fixture
def web(seeded: Seeded) -> Iterator[ASGIClient]:
    """The application in this process; a stream of events is cut off after three."""
    with ASGIClient(app, max_stream_events=3) as client:
        yield client
    shutdown_lifespans()


def is_quick(body: Any, small: Json) -> Any:
    """A job of any form takes no time if its model and its data are tiny."""
    if not isinstance(body, dict) or "name" not in body:
        return body
    return {**body, **{part: small[part] for part in ("model", "data", "clients")}}


@described.parametrize()
def test_every_answer_is_one_that_is_documented(
    case: Case, seeded: Seeded, web: ASGIClient, tiny_job: Callable[..., Json]
) -> None:
    role = seeded.role_of(case.operation.tags)
    case.body = is_quick(case.body, tiny_job())
    headers = role | seeded.fill_in(case)
    case.call_and_validate(session=web, headers=headers, checks=CHECKS)
