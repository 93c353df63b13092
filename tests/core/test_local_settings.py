"""`local.memory` and `local.precision` in a whole federation, for every method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fedkrso_core.check import check
from fedkrso_core.errors import SpecError
from fedkrso_core.method import pack
from fedkrso_core.methods import METHODS
from fedkrso_core.spec import EXACT_MEMORY
from tests.core.rows import ROWS

Make = Callable[..., Any]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("memory", [EXACT_MEMORY, ("checkpointing",), ("checkpointing-mlp",)])
def test_options_that_change_no_number_give_the_same_bytes(
    federation: Make, dropout_model: Path, method: str, memory: tuple[str, ...]
) -> None:
    uploads = []
    for options in ((), memory):
        fed = federation(
            model=str(dropout_model), method={"name": method}, local={"memory": options}
        )
        uploads.append(pack(fed.train(0)))
    assert uploads[0] == uploads[1]


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_in_parts_trains_what_the_whole_batch_trains(
    federation: Make, dropout_model: Path, method: str
) -> None:
    losses = []
    for parts in ({}, {"micro_batch_size": 3}):
        local = {"steps": 4, "batch_size": 8, "optimizer": "sgd", "lr": 0.05, **parts}
        fed = federation(model=str(dropout_model), method={"name": method}, local=local)
        losses.append(fed.train(0).metrics["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


ROUNDING: list[dict[str, Any]] = [
    {"precision": "medium"},
    {"precision": "bf16"},
    {"memory": ["gelu-8bit"]},
    {"memory": ["bf16-weights"]},
    {"memory": ["fused-cross-entropy"]},
    {"memory": [*EXACT_MEMORY, "gelu-8bit", "bf16-weights", "checkpointing"]},
]
CASES = [
    (method, local)
    for method in METHODS
    for local in ROUNDING
    # those that move every weight refuse bf16-weights
    if not ROWS[method].moves_everything or "bf16-weights" not in local.get("memory", ())
    if not ROWS[method].only_losses
]


@pytest.mark.parametrize(("method", "local"), CASES, ids=str)
def test_every_method_learns_with_options_that_round(
    federation: Make, method: str, local: dict[str, Any]
) -> None:
    row, steps, rounds, head_lr = ROWS[method], 12, 2, None
    lr = 3e-3 if row.moves_everything else 1e-2
    if row.steps > steps:  # prompts of a model that is itself untrained learn slowly
        lr, steps, rounds, head_lr = row.lr, row.steps, 3, 1e-2
    fed = federation(
        method={"name": method},
        local={"steps": steps, "batch_size": 8, "lr": lr, "head_lr": head_lr, **local},
    )
    who = 0 if fed.method.is_personal else None  # the model that is learnt
    before = fed.loss(who)
    fed.play(rounds)
    assert fed.loss(who) < 0.92 * before  # SLoRA trains a hundredth of the entries at first
    assert {p.dtype for p in fed.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("local", [{"precision": "medium"}, {"memory": ["fused-cross-entropy"]}])
@pytest.mark.parametrize("method", [name for name, row in ROWS.items() if row.only_losses])
def test_methods_that_see_losses_alone_see_nearly_the_same_ones(
    federation: Make, method: str, local: dict[str, Any]
) -> None:
    """They take too many steps to learn here; the first one shows what rounding does to it."""
    losses = []
    for options in ({}, local):
        fed = federation(method={"name": method}, local={"steps": 1, "lr": 1e-4, **options})
        losses.append(fed.train(0).metrics["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("method", [name for name, row in ROWS.items() if row.moves_everything])
def test_methods_that_move_every_weight_refuse_to_freeze_them(job: Make, method: str) -> None:
    with pytest.raises(SpecError, match="bf16-weights is for frozen weights"):
        check(job(method={"name": method}, local={"memory": ["bf16-weights"]}))


def test_with_bf16_weights_the_upload_is_exact_and_the_client_near_it(federation: Make) -> None:
    fed = federation(
        method={"name": "fedkrso", "interval": 2},
        clients={"count": 1, "per_round": 1},
        partition={"kind": "iid"},
        local={"steps": 8, "memory": ["bf16-weights"]},
    )
    base = fed.global_weights()
    update = fed.train(0)
    assert {t.dtype for t in update.upload.tensors.values()} == {torch.float32}
    client = fed.weights()
    fed.close({0: update})
    for name, server in fed.global_weights().items():
        # the server adds to float32, the client rounded its body to bfloat16 four times
        torch.testing.assert_close(server, client[name], rtol=2**-6, atol=2e-3)
        if "query.weight" in name:
            assert not torch.equal(server, base[name])


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        (
            {"method": {"name": "fedavg"}, "local": {"memory": ["bf16-weights"]}},
            "method",
            "fedavg trains them all",
        ),
        (
            {
                "method": {"name": "fedkrso", "train_norm_bias": True},
                "local": {"memory": ["bf16-weights"]},
            },
            "method.train_norm_bias",
            "allowed with it: false",
        ),
        (
            {"local": {"memory": ["bf16-weights"], "weight_decay": 0.1}},
            "local.memory",
            "weight_decay is 0.1; allowed with bf16-weights: 0",
        ),
    ],
    ids=["fedavg", "norms and biases", "weight decay"],
)
def test_settings_that_would_lose_updates_are_refused(
    job: Make, changes: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(SpecError) as refused:
        check(job(**changes))
    (problem,) = refused.value.problems
    assert problem.field == field
    assert message in problem.message


def test_checkpointing_twice_is_refused(raw_job: Make) -> None:
    from fedkrso_core.spec import parse

    with pytest.raises(SpecError, match="give one of the two"):
        parse(raw_job(local={"memory": ["checkpointing", "checkpointing-mlp"]}))
