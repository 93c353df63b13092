"""Memory options: what they leave as it is, what they keep, and that they leave no trace."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from fedkrso_core.errors import MethodError
from fedkrso_core.estimate.tracker import LiveTensors
from fedkrso_core.lean import check_memory, lean_model
from fedkrso_core.lean.dropout import BitDropout
from fedkrso_core.spec import EXACT_MEMORY, LocalSpec

from .conftest import batch_of, bert, gpt2

Step = Callable[..., Any]
EXACT = [
    ("dropout-bits",),
    ("attention-recompute",),
    ("checkpointing",),
    ("checkpointing-mlp",),
    EXACT_MEMORY,
    (*EXACT_MEMORY, "checkpointing"),
    (*EXACT_MEMORY, "checkpointing-mlp"),
]


@pytest.mark.parametrize("padding", [True, False], ids=["padding", "full rows"])
@pytest.mark.parametrize("dropout", [0.1, 0.0], ids=["dropout", "no dropout"])
@pytest.mark.parametrize("make", [bert, gpt2])
@pytest.mark.parametrize("options", EXACT, ids="+".join)
def test_an_exact_option_changes_no_bit_of_loss_or_gradients(
    step: Step, options: tuple[str, ...], make: Any, dropout: float, padding: bool
) -> None:
    model = make(dropout)
    loss, gradients = step(model, padding=padding)
    lean_loss, lean_gradients = step(model, *options, padding=padding)
    assert torch.equal(loss, lean_loss)
    for name, gradient in gradients.items():
        assert torch.equal(gradient, lean_gradients[name]), name


def kept_bytes(model: nn.Module, *options: str) -> int:
    """Bytes that are alive between the forward and the backward pass."""
    batch = batch_of(padding=True)
    with lean_model(model.train(), LocalSpec(memory=options)), LiveTensors() as live:
        loss = model(**batch).loss
        kept = live.live_bytes
    del loss
    return kept


def test_each_option_keeps_less() -> None:
    model = bert()
    nothing = kept_bytes(model)
    bits = kept_bytes(model, "dropout-bits")
    both = kept_bytes(model, *EXACT_MEMORY)
    byte = kept_bytes(model, *EXACT_MEMORY, "gelu-8bit")
    assert nothing > bits > both > byte
    tokens, layers = 5 * 21, 3
    # float32 masks of 2 dropouts a layer, of the embeddings and of the classifier become bits
    masks = (2 * layers + 1) * tokens * 64 + 5 * 64
    assert nothing - bits == pytest.approx(4 * masks * (1 - 1 / 32), rel=0.02)
    # GELU's input, 4 bytes a number, becomes 1 byte
    assert both - byte == layers * tokens * 128 * 3


def test_the_model_is_left_as_it_was(step: Step) -> None:
    model = bert()
    modules = dict(model.named_modules())
    before = {name: p.clone() for name, p in model.named_parameters()}
    step(model, *EXACT_MEMORY, "gelu-8bit", "checkpointing")
    assert {name: id(m) for name, m in model.named_modules()} == {
        name: id(m) for name, m in modules.items()
    }
    assert model.config._attn_implementation == "sdpa"
    assert not any("forward" in vars(m) or "feed_forward_chunk" in vars(m) for m in model.modules())
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_the_model_is_left_as_it_was_even_after_an_error() -> None:
    model = bert()

    def fail() -> None:
        with lean_model(model, LocalSpec(memory=(*EXACT_MEMORY, "checkpointing"))):
            assert any(isinstance(m, BitDropout) for m in model.modules())
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert not any(isinstance(m, BitDropout) for m in model.modules())
    assert model.config._attn_implementation == "sdpa"


def test_evaluation_inside_is_without_dropout() -> None:
    model = bert().eval()
    plain = model(**batch_of(padding=True)).logits
    with lean_model(model, LocalSpec(memory=(*EXACT_MEMORY, "gelu-8bit"))):
        assert torch.equal(model(**batch_of(padding=True)).logits, plain)


def test_an_option_that_finds_nothing_is_refused_with_what_to_do() -> None:
    relu = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with pytest.raises(MethodError, match="gelu-8bit finds no GELU or SiLU"):
        check_memory(relu, LocalSpec(memory=("gelu-8bit",)))
    with pytest.raises(MethodError, match="checkpointing-mlp finds no MLP"):
        check_memory(relu, LocalSpec(memory=("checkpointing-mlp",)))


def test_bf16_weights_do_not_decay() -> None:
    with pytest.raises(MethodError, match=r"weight_decay is 0\.01; allowed with bf16-weights: 0"):
        check_memory(bert(), LocalSpec(memory=("bf16-weights",), weight_decay=0.01))
