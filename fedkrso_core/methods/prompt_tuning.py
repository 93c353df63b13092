"""Prompt tuning: embeddings of virtual tokens before each text are trained, and averaged.

Lester, Al-Rfou, Constant, "The Power of Scale for Parameter-Efficient Prompt Tuning", EMNLP 2021,
arXiv 2104.08691; averaged as in FedPrompt (Zhao, Du, Li, Li, Liu, ICASSP 2023, arXiv 2208.12268).

    client c:  E(x) -> [P_c; E(x)], local steps on P_c from the received P
    server:    P = sum_c (n_c/n) P_c

| symbol | name here | shape |
|---|---|---|
| P | "prompt/embedding.weight" | (v, d) |
| v, d | tokens, width of the embedding | scalars |

Up and down: 4 v d bytes, and the classifier; down nothing before round 1: P begins as the
embeddings of v tokens that the job's seed draws from the vocabulary. All of W is frozen. The mean
of the prompts is exact: the model has P itself.

The trained module is peft's PromptEmbedding. P cannot be merged into W: what is exported is a
folder that peft loads on top of the base model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fedkrso_core.ops.prompts import Kind, PromptConfig, averaged
from fedkrso_core.ops.soft_prompt import SoftPrompt, embeddings_of, vocabulary_rows


class Config(PromptConfig):
    """Options of prompt tuning."""


def _encoder(config: Config, model: Any) -> nn.Module:
    from peft import PromptEmbedding, PromptTuningConfig

    width = embeddings_of(model).shape[1]
    own = PromptTuningConfig(
        num_virtual_tokens=config.tokens, token_dim=width, num_transformer_submodules=1
    )
    return PromptEmbedding(own, None)  # type: ignore[no-any-return]


def _start(name: str, shape: torch.Size, model: nn.Module, seed: int) -> Tensor:
    return vocabulary_rows(model, seed, shape[0])


_KIND = Kind(_encoder, _start, SoftPrompt)


METHOD = averaged(
    lambda _: _KIND,
    name="prompt_tuning",
    title="Prompt tuning (soft prompts, averaged)",
    paper="arXiv 2104.08691",
    Config=Config,
)
