"""Looking at a division before the job is submitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from fedkrso_core.examine import divided_rows
from fedkrso_core.spec import parse

Json = dict[str, Any]
MakeJob = Callable[..., Json]


def _ask(client: TestClient, job: Json, **query: int) -> Json:
    answer = client.post("/v1/jobs:partition", json=job, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_division_is_that_of_the_job(client: TestClient, tiny_job: MakeJob) -> None:
    job = tiny_job(partition={"kind": "dirichlet", "alpha": 0.3}, seed=5)
    told = _ask(client, job)
    shares = divided_rows(parse(job)).divided
    assert [share["num_examples"] for share in told["clients"]] == [len(rows) for rows in shares]
    assert told["num_examples"] == sum(len(rows) for rows in shares)
    assert told["num_clients"] == 3


def test_every_row_is_in_the_histogram_of_one_client(client: TestClient, tiny_job: MakeJob) -> None:
    told = _ask(client, tiny_job())
    assert len(told["labels"]) > 1
    for share in told["clients"]:
        assert sum(share["labels"]) == share["num_examples"]


def test_another_seed_divides_otherwise(client: TestClient, tiny_job: MakeJob) -> None:
    kind = {"kind": "dirichlet", "alpha": 0.2}
    one, other = (_ask(client, tiny_job(partition=kind, seed=seed)) for seed in (1, 2))
    assert one["clients"] != other["clients"]


def test_of_many_clients_the_first_are_listed(client: TestClient, tiny_job: MakeJob) -> None:
    told = _ask(client, tiny_job(clients={"count": 6, "per_round": 2}), most=2)
    assert [share["client"] for share in told["clients"]] == [0, 1]
    assert told["num_clients"] == 6


def test_rows_that_cannot_be_divided_are_refused_with_the_field(
    client: TestClient, tiny_job: MakeJob
) -> None:
    job = tiny_job(clients={"count": 90_000, "per_round": 2})
    answer = client.post("/v1/jobs:partition", json=job)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "partition"
    assert "cannot share" in error["message"]


def test_a_model_that_is_not_there_is_no_matter(client: TestClient, tiny_job: MakeJob) -> None:
    assert _ask(client, tiny_job(model="/nowhere"))["num_clients"] == 3
    assert client.get("/v1/jobs").json()["items"] == []
