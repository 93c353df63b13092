"""What the training benchmarks share: models with random weights, batches, and the sides.

A side is a way to train: a method of the registry through its own `train`, or LoRA with peft, which
is the usual way to do it. Both run the same loop of loss, backward, AdamW.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fedkrso_core.lean import lean_model
from fedkrso_core.method import Client
from fedkrso_core.methods import METHODS
from fedkrso_core.ops.fit import backward, make_optimizer
from fedkrso_core.seeds import generator
from fedkrso_core.spec import EXACT_MEMORY, LocalSpec, MemoryOption, Precision

RANK = 4
# hidden, layers, heads, inner, vocabulary, positions
SHAPES = {
    "minilm": (384, 6, 12, 1536, 30_522, 512),
    "base": (768, 12, 12, 3072, 50_265, 514),
    "large": (1024, 24, 16, 4096, 50_265, 514),
}


def encoder(name: str, dropout: float) -> nn.Module:
    """A RoBERTa classifier of two labels with random weights, at one of the SHAPES."""
    from transformers import RobertaConfig, RobertaForSequenceClassification

    hidden, layers, heads, inner, vocabulary, positions = SHAPES[name]
    config = RobertaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        vocab_size=vocabulary,
        max_position_embeddings=positions,
        type_vocab_size=1,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=2,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    return RobertaForSequenceClassification(config)


# hidden, layers, heads, key and value heads, inner
DECODERS = {
    "tiny": (64, 2, 4, 2, 128),
    "0.4B": (1024, 24, 16, 8, 4096),
    "1B": (2048, 16, 32, 8, 8192),
    "3B": (3072, 28, 24, 8, 8192),
    "7B": (4096, 32, 32, 8, 14_336),
    "13B": (5120, 40, 40, 8, 17_920),
    "24B": (5120, 72, 40, 8, 21_504),
    "34B": (7168, 60, 56, 8, 20_480),
    "70B": (8192, 80, 64, 8, 28_672),
}


def decoder(name: str, dtype: torch.dtype, device: str) -> nn.Module:
    """A Llama classifier of two labels at one of the DECODERS, made on the device in that type."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    hidden, layers, heads, groups, inner = DECODERS[name]
    config = LlamaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        intermediate_size=inner,
        vocab_size=32_000,
        max_position_embeddings=2048,
        num_labels=2,
        pad_token_id=0,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = LlamaForSequenceClassification(config)
    finally:
        torch.set_default_dtype(before)
    model.score.float()
    return model


def batches(
    vocabulary: int, rows: int, length: int, device: str = "cpu"
) -> Iterator[dict[str, Tensor]]:
    """Endless batches of random tokens, all rows full, labels 0 and 1."""
    rng = generator(0, "benchmark")
    while True:
        ids = torch.from_numpy(rng.integers(3, vocabulary, (rows, length))).to(device)
        labels = torch.from_numpy(rng.integers(0, 2, rows)).to(device)
        yield {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


@dataclass(frozen=True)
class Side:
    """A way to train; `method` is one of the registry or "peft"."""

    method: str
    memory: tuple[MemoryOption, ...] = EXACT_MEMORY
    precision: Precision = "fp32"
    options: dict[str, Any] = field(default_factory=dict)
    micro_batch_size: int | None = None

    def train(
        self,
        model: nn.Module,
        feed: Iterator[dict[str, Tensor]],
        steps: int,
        on_step: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Trains `model` for some steps and leaves it with the layers that it came with."""
        local = LocalSpec(
            steps=steps,
            lr=1e-4,
            memory=self.memory,
            precision=self.precision,
            micro_batch_size=self.micro_batch_size,
        )
        with lean_model(model, local):
            if self.method == "peft":
                _train_peft(model, feed, local, on_step)
                return
            method = METHODS[self.method]
            config = method.Config(**_rank(self.method), **self.options)
            client = Client(0, 1, 0, local, 1, lambda: (next(feed) for _ in range(steps)))
            client = Client(**{**vars(client), "on_step": on_step})
            method.train(config, model, method.init(config, model, 0), client)


def _rank(method: str) -> dict[str, Any]:
    known = METHODS[method].Config.model_fields
    return {name: value for name, value in (("rank", RANK), ("interval", 10)) if name in known}


def _train_peft(
    model: nn.Module,
    feed: Iterator[dict[str, Tensor]],
    local: LocalSpec,
    on_step: Callable[[int], None],
) -> None:
    from peft import LoraConfig, get_peft_model

    targets = sorted({n for n, m in model.named_modules() if _in_encoder(n, m)})
    wrapped = get_peft_model(
        model,
        LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=targets, task_type="SEQ_CLS"),
    )
    trained = [p for p in wrapped.parameters() if p.requires_grad]
    optimizer = make_optimizer(local, trained)
    wrapped.train()
    for step in range(local.steps):
        backward(wrapped, next(feed), local)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        on_step(step + 1)
    wrapped.unload()


def _in_encoder(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and (".layer." in name or ".layers." in name)
