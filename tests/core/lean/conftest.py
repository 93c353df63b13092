"""A small RoBERTa-like classifier with dropout, and a batch with padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedkrso_core.lean import lean_model
from fedkrso_core.ops.fit import backward
from fedkrso_core.spec import LocalSpec

Gradients = dict[str, Tensor]


def bert(dropout: float = 0.1) -> nn.Module:
    """Three layers, 64 wide, 4 heads."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=50,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=40,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=3,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    return BertForSequenceClassification(config)


def gpt2(dropout: float = 0.1) -> nn.Module:
    """Two layers of GPT-2, 32 wide, whose layers are Conv1D."""
    from transformers import GPT2Config, GPT2ForSequenceClassification

    config = GPT2Config(
        vocab_size=50,
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=40,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        num_labels=3,
        pad_token_id=0,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    return GPT2ForSequenceClassification(config)


def batch_of(padding: bool) -> dict[str, Tensor]:
    """5 rows of 21 tokens (no multiple of 8); with padding, two rows are shorter."""
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 50, (5, 21), generator=draw)
    mask = torch.ones_like(ids)
    if padding:
        mask[1, 12:] = mask[3, 7:] = 0
        ids[mask == 0] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 1, 2, 1, 0])}


@pytest.fixture
def step() -> Callable[..., tuple[Tensor, Gradients]]:
    """Loss and all gradients of one step from the same random state, with given settings."""

    def run(model: nn.Module, *memory: str, padding: bool = True, **local: Any) -> Any:
        torch.manual_seed(3)
        model.train()
        model.zero_grad()
        settings = LocalSpec(memory=memory, **local)
        with lean_model(model, settings):
            loss = backward(model, batch_of(padding), settings)
        return loss, {name: p.grad for name, p in model.named_parameters()}

    return run
