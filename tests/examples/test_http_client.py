"""The example client computes what it says, compared with torch, transformers and the core."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from fedkrso_core.check import check
from fedkrso_core.global_model import StateRef
from fedkrso_core.method import pack, unpack
from fedkrso_core.payload import decode, encode
from fedkrso_core.spec import parse
from fedkrso_core.stale import Counted
from fedkrso_core.workload import Workload
from tests.api.tiny import write_model, write_rows

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE = EXAMPLES / "http_client.py"
HEADS = 2
POOLER = "bert.pooler.dense"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_http_client", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("example")
    write_model(made / "model")
    write_rows(made / "rows.jsonl")
    return made


@pytest.fixture(scope="module")
def workload(folder: Path) -> Workload:
    job = {
        "name": "a",
        "model": str(folder / "model"),
        "data": {"train": str(folder / "rows.jsonl")},
        "partition": {"kind": "iid"},
        "clients": {"count": 2, "per_round": 2},
        "rounds": 3,
        "local": {"steps": 4, "batch_size": 4, "max_length": 8, "lr": 0.1, "optimizer": "sgd"},
        "method": {"name": "fedkrso", "rank": 2, "seeds": 3, "interval": 2},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDKRSO_HOME", str(folder / "home"))
        return Workload(parse(job), folder / "dense", torch.device("cpu"))


def chain_of(states: list[bytes]) -> list[StateRef]:
    return [StateRef(str(n), lambda body=body: decode(body)) for n, body in enumerate(states)]


def two_rounds(workload: Workload) -> list[bytes]:
    """The states after two real rounds of one client."""
    states = [encode(workload.initial_state())]
    for number in (1, 2):
        body = pack(workload.train(chain_of(states), 0, number).update)
        before = decode(states[-1])
        counted = Counted(0, lambda body=body: unpack(body), lambda before=before: before, 0)
        states.append(encode(workload.aggregate(before, [counted]).state))
    return states


def imported(path: Path) -> set[str]:
    """Names of the packages outside the standard library that a file imports."""
    tree = ast.parse(path.read_text())
    names = {n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names}
    froms = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names | froms} - sys.stdlib_module_names


def test_it_imports_nothing_of_this_project() -> None:
    assert imported(EXAMPLE) == {"httpx", "numpy", "safetensors", "numpy_bert"}
    assert imported(EXAMPLES / "numpy_bert.py") == {"numpy"}


def test_it_puts_the_journal_into_the_weights_as_the_service_does(
    example: ModuleType, workload: Workload, folder: Path
) -> None:
    states = two_rounds(workload)
    weights = load_file(folder / "model" / "model.safetensors")
    for state in states:
        scalars = example.apply_state(weights, state, 2)
    assert scalars["round"] == 2
    model = workload.global_model.materialize(chain_of(states))
    for name, value in model.named_parameters():
        assert np.allclose(weights[name], value.detach().numpy(), atol=1e-6), name


def test_its_forward_pass_is_that_of_the_model(
    example: ModuleType, workload: Workload, folder: Path
) -> None:
    weights = load_file(folder / "model" / "model.safetensors")
    ids = [2, 4, 9, 7, 3]
    model = workload.global_model.untrained().eval()
    with torch.no_grad():
        wanted = model.bert(torch.tensor([ids])).last_hidden_state[0, 0].numpy()  # type: ignore[operator]
    assert np.allclose(example.trainer.first_hidden(weights, ids, HEADS), wanted, atol=1e-5)


def test_its_step_is_that_of_automatic_differentiation(example: ModuleType, folder: Path) -> None:
    weights = load_file(folder / "model" / "model.safetensors")
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((6, 16)).astype("f4")
    labels = np.array([0, 1, 1, 0, 1, 0])
    local = {"steps": 1, "batch_size": 6, "lr": 0.1, "head_lr": 0.05}
    job = {"local": local, "method": {"rank": 2, "interval": 1}}
    subspace = example.projection(42, POOLER, 2, 16)
    trained, sums, mean = example.trainer.train(
        weights, hidden, labels, job, [subspace], np.random.default_rng(1)
    )
    p = torch.tensor(subspace)
    b = torch.zeros(16, 2, requires_grad=True)
    wc = torch.tensor(weights["classifier.weight"], requires_grad=True)
    bc = torch.tensor(weights["classifier.bias"], requires_grad=True)
    pooler = torch.tensor(weights[f"{POOLER}.weight"]) + b @ p
    bias = torch.tensor(weights[f"{POOLER}.bias"])
    pooled = torch.tanh(torch.tensor(hidden) @ pooler.T + bias)
    loss = torch.nn.functional.cross_entropy(pooled @ wc.T + bc, torch.tensor(labels))
    loss.backward()
    assert mean == pytest.approx(loss.item(), rel=1e-5)
    for name, found, value, lr in (
        ("accumulator", sums[0], b, 0.1),
        ("weight", trained["classifier.weight"], wc, 0.05),
        ("bias", trained["classifier.bias"], bc, 0.05),
    ):
        assert value.grad is not None
        wanted = (value - lr * value.grad).detach().numpy()
        assert np.allclose(found, wanted, atol=1e-6), name
    moved = trained[f"{POOLER}.weight"] - weights[f"{POOLER}.weight"]
    assert np.allclose(moved, sums[0] @ subspace, atol=1e-6)


def test_its_update_is_one_that_the_service_takes(
    example: ModuleType, workload: Workload, folder: Path, tmp_path: Path
) -> None:
    from fedkrso_core.expect import check_upload

    state = workload.initial_state()
    weights = load_file(folder / "model" / "model.safetensors")
    job: Any = workload.spec.model_dump(mode="json")
    hidden = np.ones((5, 16), "f4")
    seeds = state.scalars["next"]
    subspaces = [example.projection(seed, POOLER, 2, 16) for seed in seeds]
    trained, sums, loss = example.trainer.train(
        weights, hidden, np.array([0, 1, 0, 1, 0]), job, subspaces, np.random.default_rng(0)
    )
    scalars = {"decay": 1.0, "num_examples": 5, "metrics": {"loss": loss}}
    path = tmp_path / "update"
    path.write_bytes(example.update_of(trained, sums, seeds, 2, scalars))
    model = workload.global_model.untrained()
    check_upload(path, workload.method.expect(workload.config, model, state), 5)


@pytest.mark.parametrize(
    "changed",
    [
        {"method": {"name": "fedavg"}},
        {"wire": {"dtype": "int8"}},
        {"wire": {"download": "int8"}},
        {"local": {"optimizer": "adamw"}},
        {"local": {"schedule": "cosine"}},
        {"rounds": {"count": 3, "mode": "buffered"}},
        {"local_head": True},
    ],
    ids=str,
)
def test_it_knows_what_it_cannot_do(
    example: ModuleType, workload: Workload, changed: dict[str, Any]
) -> None:
    job = check(workload.spec).spec.model_dump(mode="json")
    assert example.fits(job)
    other = parse(
        {**job, **{n: {**job[n], **v} if n == "local" else v for n, v in changed.items()}}
    )
    options = {"distribution": "sign", "targets": "all-linear", "train_norm_bias": False}
    asked = other.model_dump(mode="json")
    assert not example.fits({**asked, "method": {**options, **asked["method"]}})
