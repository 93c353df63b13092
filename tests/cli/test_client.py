from __future__ import annotations

import datetime
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cli.client import ApiClient, ApiProblem, ServerAway
from cli.errors import CliError
from cli.lookup import find_job
from cli.ports import choose

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def client(api: Any) -> Iterator[ApiClient]:
    with ApiClient(api.url + "/", "fk_secret") as opened:
        yield opened


def test_a_job_is_sent_as_json_with_the_key(api: Any, client: ApiClient, make_job: Make) -> None:
    api.on("POST /v1/jobs", make_job(), 201)
    assert client.submit({"name": datetime.date(2026, 1, 2)})["id"] == "0a1b2c3d"
    [asked] = api.asked
    assert json.loads(asked.body) == {"name": "2026-01-02"}
    assert asked.headers["Authorization"] == "Bearer fk_secret"
    assert asked.headers["Content-Type"] == "application/json"


def test_a_number_that_json_lacks_is_refused_before_it_is_sent(api: Any, client: ApiClient) -> None:
    with pytest.raises(CliError, match="cannot be written as JSON"):
        client.submit({"lr": float("nan")})
    assert api.asked == []


def test_a_problem_document_becomes_an_error_with_its_fields(api: Any, client: ApiClient) -> None:
    errors = [{"field": "rounds", "value": 0, "message": "0: too small"}]
    api.problem("POST /v1/jobs", 422, "The job cannot run.", errors)
    with pytest.raises(ApiProblem) as caught:
        client.submit({})
    problem = caught.value
    assert (problem.status, problem.detail, problem.errors) == (422, "The job cannot run.", errors)
    assert problem.lines == ("The job cannot run.", "rounds: 0: too small")


def test_a_refused_key_comes_with_a_hint(api: Any, client: ApiClient) -> None:
    api.problem("GET /v1/methods", 401, "No such key.", [])
    with pytest.raises(ApiProblem, match="FEDKRSO_API_KEY"):
        client.methods()


def test_where_nothing_listens_the_error_says_how_to_start_a_server() -> None:
    url = f"http://127.0.0.1:{choose('127.0.0.1', 0)}"
    with ApiClient(url, None) as client, pytest.raises(ServerAway) as caught:
        client.methods()
    assert caught.value.lines == (
        f"no server answers at {url}: start one with `fedkrso up` or give --server",
    )


def test_a_server_that_is_not_ready_may_come_back(api: Any, client: ApiClient) -> None:
    api.on("GET /v1/methods", {}, 503)
    with pytest.raises(ServerAway, match="503"):
        client.methods()


def test_another_kind_of_server_is_recognised(api: Any, client: ApiClient) -> None:
    api.on("GET /v1/methods", b"<html>hello</html>", kind="text/html")
    with pytest.raises(CliError, match="does not answer like a fedkrso server"):
        client.methods()


def test_an_address_without_scheme_is_refused() -> None:
    with pytest.raises(CliError, match="an address like http://host:8000"):
        ApiClient("localhost:8000", None)


def test_a_model_in_another_store_is_fetched_there_without_the_key(
    api: Any, client: ApiClient
) -> None:
    link = f"{api.url.replace('127.0.0.1', 'localhost')}/bucket/blob?signature=abc"
    api.on("GET /v1/jobs/j/model", b"", 307, Location=link)
    api.on("GET /bucket/blob?signature=abc", b"PK", kind="application/octet-stream")
    assert client.save_model("j", None, file := io.BytesIO()) is None
    assert file.getvalue() == b"PK"
    assert "Authorization" not in api.asked[-1].headers


def test_a_store_that_refuses_is_named_without_its_link(api: Any, client: ApiClient) -> None:
    api.on("GET /v1/jobs/j/model", b"", 307, Location=f"{api.url}/gone?signature=abc")
    with pytest.raises(CliError, match=r"the store at 127\.0\.0\.1 answers 404") as caught:
        client.save_model("j", None, io.BytesIO())
    assert "signature" not in str(caught.value)


def test_a_model_that_is_being_built_says_how_long_to_wait(api: Any, client: ApiClient) -> None:
    api.on("GET /v1/jobs/j/model?round=3", {"state": "building"}, 202, Retry_After="0.2")
    api.on("GET /v1/jobs/j/model?round=3", b"PK", kind="application/zip")
    file = io.BytesIO()
    assert client.save_model("j", 3, file) == 0.2
    assert client.save_model("j", 3, file) is None
    assert file.getvalue() == b"PK"


def test_a_job_is_found_by_id_name_or_prefix(api: Any, client: ApiClient, make_job: Make) -> None:
    jobs = [
        make_job(id="ab12", name="sst"),
        make_job(id="cd34", name="demo"),
        make_job(id="ab99", name="demo"),
    ]
    api.on("GET /v1/jobs/ab99", jobs[2])
    api.on("GET /v1/jobs?limit=100", {"items": jobs[:2], "next": "x"})
    api.on("GET /v1/jobs?limit=100&after=x", {"items": jobs[2:], "next": None})
    assert find_job(client, "ab99")["id"] == "ab99"
    assert find_job(client, "demo")["id"] == "cd34"
    assert find_job(client, "cd")["id"] == "cd34"
    with pytest.raises(CliError, match="ab: 2 jobs begin with it, such as ab12, ab99"):
        find_job(client, "ab")
    with pytest.raises(CliError, match="nope: no such job"):
        find_job(client, "nope")
