"""A batch in parts: the loss, the gradients and the random numbers of the whole, in less memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from fedkrso_core.estimate.tracker import LiveTensors
from fedkrso_core.lean import lean_model
from fedkrso_core.lean.masks import draw, masks_of_a_batch
from fedkrso_core.ops.fit import backward, forward
from fedkrso_core.spec import EXACT_MEMORY, LocalSpec, MemoryOption

from .conftest import batch_of, bert, gpt2

Step = Callable[..., Any]
EXTRAS: list[tuple[MemoryOption, ...]] = [(), ("checkpointing",), ("checkpointing-mlp",)]


def albert() -> nn.Module:
    """Two layers that share their weights: each module runs twice in a step."""
    from transformers import AlbertConfig, AlbertForSequenceClassification

    sizes = {"hidden_size": 32, "intermediate_size": 48, "embedding_size": 16}
    torch.manual_seed(0)
    config = AlbertConfig(
        vocab_size=50, num_hidden_layers=2, num_attention_heads=2, num_labels=3,
        hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, **sizes,
    )  # fmt: skip
    return AlbertForSequenceClassification(config)


@pytest.mark.parametrize("rows", [1, 2, 4], ids=lambda rows: f"{rows} rows")
@pytest.mark.parametrize("make", [bert, gpt2, albert])
@pytest.mark.parametrize("extra", EXTRAS, ids="+".join)
def test_parts_give_the_step_of_the_whole_batch_with_dropout(
    step: Step, extra: tuple[MemoryOption, ...], make: Callable[[], nn.Module], rows: int
) -> None:
    model, memory = make(), (*EXACT_MEMORY, *extra)
    loss, gradients = step(model, *memory)
    after = torch.rand(3)
    own_loss, own_gradients = step(model, *memory, micro_batch_size=rows)
    assert torch.equal(after, torch.rand(3))  # as many random numbers were drawn
    torch.testing.assert_close(own_loss, loss)
    for name, gradient in gradients.items():
        torch.testing.assert_close(own_gradients[name], gradient, rtol=1e-4, atol=1e-6)


def test_other_masks_would_be_noticed(step: Step) -> None:
    """The test above can fail: stock dropout draws each part's masks by itself."""
    loss, _ = step(bert())
    own_loss, _ = step(bert(), micro_batch_size=2)
    assert not torch.allclose(own_loss, loss)


def test_as_many_rows_as_the_batch_has_change_no_bit(step: Step) -> None:
    model = bert()
    loss, gradients = step(model, *EXACT_MEMORY)
    own_loss, own_gradients = step(model, *EXACT_MEMORY, micro_batch_size=5)
    assert torch.equal(own_loss, loss)
    assert all(torch.equal(own_gradients[name], g) for name, g in gradients.items())


def language_model() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 40}
    return GPT2LMHeadModel(GPT2Config(vocab_size=50, attn_implementation="sdpa", **sizes))


def texts() -> dict[str, Tensor]:
    """5 rows of 21 tokens, of which a different number counts; of one row, none."""
    batch = batch_of(padding=True)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    labels[2] = -100
    labels[4, :17] = -100
    return {**batch, "labels": labels}


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("memory", [EXACT_MEMORY, (*EXACT_MEMORY, "fused-cross-entropy")])
def test_each_token_of_a_language_model_counts_the_same(
    memory: tuple[MemoryOption, ...], rows: int
) -> None:
    found = []
    for part in (None, rows):
        local, model = LocalSpec(memory=memory, micro_batch_size=part), language_model().train()
        torch.manual_seed(1)
        with lean_model(model, local):
            loss = backward(model, texts(), local)
        found.append((loss, [p.grad for p in model.parameters()]))
    (loss, gradients), (own_loss, own_gradients) = found
    torch.testing.assert_close(own_loss, loss)
    for own, whole in zip(own_gradients, gradients, strict=True):
        torch.testing.assert_close(own, whole, rtol=1e-4, atol=1e-6)


def test_of_a_regression_each_row_counts_the_same() -> None:
    model, batch = bert(0.0), batch_of(padding=True)
    model.config.problem_type, model.config.num_labels = "regression", 1  # type: ignore[union-attr]
    model.num_labels, model.classifier = 1, nn.Linear(64, 1)
    batch["labels"] = torch.tensor([0.5, -100.0, 3.0, 0.0, 1.0])  # a number like any other
    whole = forward(model, batch, LocalSpec())
    torch.testing.assert_close(forward(model, batch, LocalSpec(micro_batch_size=2)), whole)


def test_memory_is_that_of_a_part() -> None:
    def peak(rows: int | None, copies: int) -> int:
        local, model = LocalSpec(batch_size=64, micro_batch_size=rows), bert().train()
        batch = {name: tensor.repeat(copies, *[1] * (tensor.dim() - 1))
                 for name, tensor in batch_of(padding=False).items()}  # fmt: skip
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        with lean_model(model, local), LiveTensors() as live:
            backward(model, batch, local)
        return live.peak_bytes

    assert peak(5, copies=8) < 0.25 * peak(None, copies=8)


def test_masks_that_do_not_have_the_rows_of_the_batch_are_drawn_by_each_part() -> None:
    with masks_of_a_batch(6) as masks:
        seen = []
        for start in (0, 4):
            masks.begin(start, min(start + 4, 6))
            mask = torch.empty(3, 1000, dtype=torch.bool)
            draw(mask, 0.5)
            again = torch.empty_like(mask)
            masks.place = 0
            draw(again, 0.5)
            assert torch.equal(again, mask)
            seen.append(mask)
    assert not torch.equal(*seen)


def test_a_part_larger_than_the_batch_is_refused() -> None:
    with pytest.raises(ValidationError, match="9 rows are no part of a batch; allowed: 1 to 8"):
        LocalSpec(batch_size=8, micro_batch_size=9)
