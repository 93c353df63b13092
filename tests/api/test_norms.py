"""robust.max_norm bounds what an update changes, also where clients send whole values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from api.coordinator.advance import advance
from api.db import removal, rounds
from api.db.session import reading, writing
from tests.api.exchange import Trainee, open_first_round, put, train

Json = dict[str, Any]
MakeJob = Callable[..., Json]
LOCAL = {"steps": 2, "batch_size": 4, "max_length": 8, "lr": 0.001}
BOUND = 1.0
VALUES = {  # a tensor of the upload that holds values
    "fedavg": "bert.pooler.dense.weight",
    "fedit": "A/bert.pooler.dense",
    "ffa_lora": "dense/classifier.weight",
    "fedkrso": "dense/classifier.weight",
}


def norm(trainee: Trainee) -> float:
    """Of the numbers as they are sent."""
    squares = (
        float(t.detach().double().square().sum()) for t in trainee.update.upload.tensors.values()
    )
    return float(sum(squares)) ** 0.5


@pytest.mark.parametrize("method", VALUES)
def test_the_change_is_bounded_whatever_the_weights_are(
    http: httpx.Client, tiny_job: MakeJob, tmp_path: Path, method: str
) -> None:
    job = tiny_job(method={"name": method}, local=LOCAL, robust={"max_norm": BOUND})
    job_id = open_first_round(http, job)
    norms = []
    for number in (1, 2):
        for who in range(2):
            trainee = train(http, tmp_path / f"{number}-{who}")
            norms.append(norm(trainee))
            changed = trainee.update.upload.tensors[VALUES[method]].detach().clone()
            changed.view(-1)[0] += 1.5 * BOUND
            refused = put(http, trainee.assignment, trainee.with_tensor(VALUES[method], changed))
            assert refused.status_code == 422, refused.text
            assert refused.json()["type"].endswith("too-large-norm")
            taken = put(http, trainee.assignment, trainee.body)
            assert taken.status_code == 200, taken.text
        advance(job_id)
    if method in ("fedavg", "fedit"):
        assert min(norms) > BOUND  # as sent they would all be refused
    assert http.get(f"/v1/jobs/{job_id}").json()["state"] == "done"


def test_changes_that_travel_as_changes_are_bounded_by_the_same_number(
    http: httpx.Client, tiny_job: MakeJob, tmp_path: Path
) -> None:
    robust, wire = {"max_norm": BOUND}, {"dtype": "int8"}
    job = tiny_job(method={"name": "fedavg"}, local=LOCAL, robust=robust, wire=wire)
    open_first_round(http, job)
    trainee = train(http, tmp_path)
    assert put(http, trainee.assignment, trainee.body).status_code == 200


def test_what_updates_are_measured_from_goes_when_their_round_is_closed(
    http: httpx.Client, engine: Engine, tiny_job: MakeJob, tmp_path: Path
) -> None:
    job = tiny_job(method={"name": "fedavg"}, local=LOCAL, robust={"max_norm": BOUND})
    job_id = open_first_round(http, job)

    def kept() -> list[int]:
        with writing(engine) as session:
            removal.forget_references(session)
        with reading(engine) as session:
            found = rounds.all_of(session, job_id)
            return [row.number for row in found if row.reference_digest is not None]

    assert kept() == [1]
    for who in range(2):
        trainee = train(http, tmp_path / str(who))
        assert put(http, trainee.assignment, trainee.body).status_code == 200
    advance(job_id)
    assert kept() == [2]


def test_without_a_bound_nothing_is_kept(
    http: httpx.Client, engine: Engine, tiny_job: MakeJob
) -> None:
    job_id = open_first_round(http, tiny_job(method={"name": "fedavg"}, local=LOCAL))
    with reading(engine) as session:
        assert all(row.reference_digest is None for row in rounds.all_of(session, job_id))
