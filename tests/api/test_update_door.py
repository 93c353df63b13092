"""The door for updates: a whole real exchange, and everything that is refused at it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient

from api.settings import Settings
from tests.api.exchange import Trainee, fetch, lease, open_first_round, put, train

Json = dict[str, Any]
MakeJob = Callable[..., Json]
Break = Callable[[Trainee], bytes]
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def trainee(client: TestClient, tiny_job: MakeJob, tmp_path: Path) -> Trainee:
    """A client of an open round that has trained and not handed in yet."""
    open_first_round(client, tiny_job())
    return train(client, tmp_path)


@pytest.fixture
def stays_as_it_was(client: TestClient, trainee: Trainee, settings: Settings) -> Iterator[None]:
    """Afterwards the round is untouched, no file is left behind, and the update is welcome."""
    path = f"/v1/jobs/{trainee.assignment['job']}/rounds"
    before, files = client.get(path).json(), sorted(settings.blob_folder.rglob("*"))
    yield
    assert client.get(path).json() == before
    assert sorted(settings.blob_folder.rglob("*")) == files
    assert put(client, trainee.assignment, trainee.body).status_code == 200


def problem(answer: Any, status: int, kind: str) -> str:
    """The detail of the refusal that the answer must be."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:fedkrso:problem:{kind}"
    return str(answer.json()["detail"])


def test_an_update_is_accepted_and_counted(client: TestClient, trainee: Trainee) -> None:
    answer = put(client, trainee.assignment, trainee.body)
    assert answer.status_code == 200
    assert answer.json() == {
        "digest": hashlib.sha256(trainee.body).hexdigest(),
        "bytes_up": len(trainee.body),
    }
    (round_,) = client.get(f"/v1/jobs/{trainee.assignment['job']}/rounds").json()["items"]
    assert (round_["done"], round_["bytes_up"]) == (1, len(trainee.body))
    assert round_["bytes_down"] == sum(state["size"] for state in trainee.assignment["states"])
    assert round_["peak_memory_bytes"] == 1000


def test_the_metrics_of_an_update_are_shown(client: TestClient, trainee: Trainee) -> None:
    put(client, trainee.assignment, trainee.body)
    clients = client.get(f"/v1/jobs/{trainee.assignment['job']}/rounds/1/clients").json()["items"]
    (done,) = [item for item in clients if item["state"] == "done"]
    assert done["metrics"] == trainee.update.metrics
    assert done["seconds"] == {"train": 0.5}


def test_a_state_is_sent_with_its_digest(client: TestClient, trainee: Trainee) -> None:
    (state,) = trainee.assignment["states"]
    answer = fetch(client, trainee.assignment, state["digest"])
    assert hashlib.sha256(answer.content).hexdigest() == state["digest"]
    assert answer.headers["etag"] == f'"{state["digest"]}"'
    assert len(answer.content) == state["size"]


def first_accumulator(trainee: Trainee) -> str:
    return next(name for name in trainee.update.upload.tensors if name.startswith("A/"))


def with_nan(trainee: Trainee) -> bytes:
    name = first_accumulator(trainee)
    broken = trainee.update.upload.tensors[name].clone()
    broken[-1, -1] = float("nan")
    return trainee.with_tensor(name, broken)


def with_other_shape(trainee: Trainee) -> bytes:
    return trainee.with_tensor(first_accumulator(trainee), torch.zeros(16, 3))


def with_other_dtype(trainee: Trainee) -> bytes:
    name = first_accumulator(trainee)
    return trainee.with_tensor(name, trainee.update.upload.tensors[name].double())


def of_other_seeds(trainee: Trainee) -> bytes:
    name = next(n for n in trainee.update.upload.scalars if n.startswith("P/"))
    return trainee.with_scalar(name, "0" * 64)


def with_header(
    trainee: Trainee, change: Callable[[Json], None] = lambda _: None, encoding: str = "utf-8"
) -> bytes:
    """The body with its header rewritten by hand, as no encoder of ours would."""
    body = trainee.body
    length = int.from_bytes(body[:8], "little")
    header = json.loads(body[8 : 8 + length])
    change(header)
    raw = json.dumps(header).encode(encoding)
    return len(raw).to_bytes(8, "little") + raw + body[8 + length :]


def with_overlapping_tensors(trainee: Trainee) -> bytes:
    def overlap(header: Json) -> None:
        shapes: dict[str, Json] = {}
        for name, info in header.items():
            if name == "__metadata__":
                continue
            twin = shapes.setdefault(str(info["shape"]), info)
            if twin is not info:
                info["data_offsets"] = twin["data_offsets"]
                return

    return with_header(trainee, overlap)


def with_foreign_metadata(trainee: Trainee) -> bytes:
    return with_header(trainee, lambda header: header["__metadata__"].update(note=1))


def with_shapes_as(kind: Callable[[int], object]) -> Break:
    def broken(trainee: Trainee) -> bytes:
        def change(header: Json) -> None:
            info = header[first_accumulator(trainee)]
            info["shape"] = [kind(size) for size in info["shape"]]

        return with_header(trainee, change)

    return broken


def with_endless_metrics(trainee: Trainee) -> bytes:
    def change(header: Json) -> None:
        scalars = json.loads(header["__metadata__"]["scalars"]) | {"metrics": {"loss": "HUGE"}}
        header["__metadata__"]["scalars"] = json.dumps(scalars).replace('"HUGE"', "1e999")

    return with_header(trainee, change)


BROKEN: dict[str, tuple[Break, str]] = {
    "nothing": (lambda _: b"", "truncated"),
    "truncated": (lambda t: t.body[:-1], "does not fit its bytes"),
    "cut in the header": (lambda t: t.body[:100], "declares a header"),
    "padded": (lambda t: t.body + b"\0", "bytes of tensors"),
    "not a payload": (lambda _: b"\x10" + b"\0" * 30, "is not JSON"),
    "a huge header": (lambda _: b"\xff" * 64, "declares a header of"),
    "other shapes": (with_other_shape, "(16, 3); expected F32 (16, 2)"),
    "another dtype": (with_other_dtype, "is F64"),
    "NaN": (with_nan, "holds NaN or infinite values"),
    "a missing tensor": (lambda t: t.with_tensor(first_accumulator(t), None), "lacks 1 tensors"),
    "a foreign tensor": (lambda t: t.with_tensor("x", torch.zeros(1)), "'x' is not part of"),
    "other seeds": (of_other_seeds, "scalar 'P/"),
    "another weight": (lambda t: t.with_scalar("num_examples", 10**6), "this client has"),
    "no decay": (lambda t: t.without_scalar("decay"), "decay"),
    "a decay in words": (lambda t: t.with_scalar("decay", "much"), "decay"),
    "a decay that explodes": (lambda t: t.with_scalar("decay", 1e30), "decay"),
    "no metrics": (lambda t: t.without_scalar("metrics"), "metrics"),
    "metrics in words": (lambda t: t.with_scalar("metrics", "good"), "metrics"),
    # much like safetensors, but the coordinator could not decode it
    "overlapping tensors": (with_overlapping_tensors, ""),
    "foreign metadata": (with_foreign_metadata, ""),
    "shapes as text": (with_shapes_as(str), ""),
    "shapes as fractions": (with_shapes_as(float), ""),
    "a header in UTF-16": (lambda t: with_header(t, encoding="utf-16"), ""),
    "metrics without end": (with_endless_metrics, "1e999"),
}

KINDS = {
    "(16, 3); expected F32 (16, 2)": "wrong-tensors",
    "is F64": "wrong-tensors",
    "holds NaN or infinite values": "not-finite",
    "lacks 1 tensors": "wrong-tensors",
    "'x' is not part of": "wrong-tensors",
    "scalar 'P/": "wrong-scalars",
    "decay": "wrong-scalars",
}


@pytest.mark.usefixtures("stays_as_it_was")
@on_sqlite
@pytest.mark.parametrize(("broken", "message"), BROKEN.values(), ids=BROKEN)
def test_a_bad_update_is_refused_and_touches_nothing(
    client: TestClient, trainee: Trainee, broken: Break, message: str
) -> None:
    answer = put(client, trainee.assignment, broken(trainee))
    assert message in problem(answer, 422, KINDS.get(message, "invalid-update"))


@on_sqlite
@pytest.mark.usefixtures("stays_as_it_was")
def test_a_body_unlike_its_declared_digest_is_refused(client: TestClient, trainee: Trainee) -> None:
    answer = put(client, trainee.assignment, trainee.body, digest="0" * 64)
    assert f"declared was {'0' * 64}" in problem(answer, 422, "wrong-digest")


@on_sqlite
@pytest.mark.usefixtures("stays_as_it_was")
def test_a_digest_that_is_none_is_refused(client: TestClient, trainee: Trainee) -> None:
    answer = put(client, trainee.assignment, trainee.body, digest="abc")
    assert "X-Content-SHA256: 'abc'" in problem(answer, 422, "invalid-request")


@on_sqlite
@pytest.mark.usefixtures("stays_as_it_was")
@pytest.mark.parametrize(
    "report", [{"train_s": "inf"}, {"train_s": -1}, {"peak_memory_bytes": 2**63}, {"x": 1}]
)
def test_a_report_that_makes_no_sense_is_refused(
    client: TestClient, trainee: Trainee, report: Json
) -> None:
    answer = put(client, trainee.assignment, trainee.body, **report)
    assert next(iter(report)) in problem(answer, 422, "invalid-request")


@on_sqlite
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "streamed"])
def test_a_body_above_the_limit_is_refused_with_the_limit(
    client: TestClient, trainee: Trainee, settings: Settings, declared: bool
) -> None:
    settings.upload_limit_bytes = len(trainee.body) - 1
    files = sorted(settings.blob_folder.rglob("*"))
    body = trainee.body if declared else iter([trainee.body[:100], trainee.body[100:]])
    digest = hashlib.sha256(trainee.body).hexdigest()
    answer = put(client, trainee.assignment, body, digest=digest)
    detail = problem(answer, 413, "too-large")
    assert detail == f"the body is larger than {len(trainee.body) - 1} bytes"
    assert sorted(settings.blob_folder.rglob("*")) == files
    settings.upload_limit_bytes = len(trainee.body)
    assert put(client, trainee.assignment, trainee.body).status_code == 200


@on_sqlite
@pytest.mark.usefixtures("stays_as_it_was")
def test_an_unknown_assignment_is_not_found(client: TestClient, trainee: Trainee) -> None:
    unknown = trainee.assignment | {"id": "0" * 32}
    assert "'00000000" in problem(put(client, unknown, trainee.body), 404, "not-found")


def test_the_token_of_someone_else_is_refused(
    client: TestClient, trainee: Trainee, tmp_path: Path
) -> None:
    other = train(client, tmp_path / "other", "w2").assignment
    stolen = trainee.assignment | {"lease_token": other["lease_token"]}
    answer = put(client, stolen, trainee.body)
    assert "under another lease" in problem(answer, 409, "stale-lease")
    (state,) = trainee.assignment["states"]
    problem(fetch(client, stolen, state["digest"]), 409, "stale-lease")
    assert put(client, trainee.assignment, trainee.body).status_code == 200


@on_sqlite
@pytest.mark.usefixtures("stays_as_it_was")
def test_an_update_needs_a_lease_token(client: TestClient, trainee: Trainee) -> None:
    path = f"/v1/assignments/{trainee.assignment['id']}"
    headers = {n: v for n, v in lease(trainee.assignment).items() if n != "X-Lease-Token"}
    answer = client.post(f"{path}/heartbeat", json={"step": 1}, headers=headers)
    assert "X-Lease-Token: is required" in problem(answer, 422, "invalid-request")
    answer = client.post(f"{path}/fail", json={"reason": ""}, headers=lease(trainee.assignment))
    assert "reason" in problem(answer, 422, "invalid-request")


def test_the_same_update_may_be_sent_twice(client: TestClient, trainee: Trainee) -> None:
    first = put(client, trainee.assignment, trainee.body)
    assert put(client, trainee.assignment, trainee.body).json() == first.json()
    other = trainee.with_scalar("metrics", {"loss": 0.0})
    problem(put(client, trainee.assignment, other), 409, "conflict")
