"""P-tuning: a small network makes the embeddings of virtual tokens; the network is averaged.

Liu, Zheng, Du, Ding, Qian, Yang, Tang, "GPT Understands, Too", AI Open 2024, arXiv 2103.10385.

    client c:  E(x) -> [P_c; E(x)], P_c = MLP_c(Z_c), local steps on Z_c and the MLP
    server:    Z = sum_c (n_c/n) Z_c ;  MLP likewise, parameter by parameter
    MLP:       d -> h -> h -> d, ReLU between

| symbol | name here | shape |
|---|---|---|
| Z | "prompt/embedding.weight" | (v, d) |
| MLP | "prompt/mlp_head.{0,2,4}.weight", ".bias" | (h, d), (h, h), (d, h); (h,), (h,), (d,) |
| v, h, d | tokens, hidden, width of the embedding | scalars |

Up and down: 4 (v d + 2 d h + h h + 2 h + d) bytes, and the classifier; down nothing before round 1:
all begins from the job's seed. All of W is frozen. The mean of networks does not make the mean of
their prompts: the aggregation is inexact.

The trained module is peft's PromptEncoder with its MLP. Nobody needs the network after training:
the global model has P, and what is exported is a folder of a soft prompt that peft loads on top of
the base model. The paper's LSTM is left out; peft recommends the MLP.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from fedkrso_core.ops.prompts import Kind, PromptConfig, averaged, normal
from fedkrso_core.ops.soft_prompt import SoftPrompt, embeddings_of


class Config(PromptConfig):
    """Options of P-tuning."""

    hidden: int = Field(128, ge=1, le=65_536, description="h: width of the network")


def _encoder(config: Config, model: Any) -> nn.Module:
    from peft import PromptEncoder, PromptEncoderConfig

    own = PromptEncoderConfig(
        num_virtual_tokens=config.tokens,
        token_dim=embeddings_of(model).shape[1],
        num_transformer_submodules=1,
        encoder_hidden_size=config.hidden,
    )
    return PromptEncoder(own)  # type: ignore[no-any-return]


def _start(name: str, shape: torch.Size, model: nn.Module, seed: int) -> Tensor:
    """The scales of torch's layers, as peft has them."""
    if name == "embedding.weight":
        return normal(seed, f"p-tuning/{name}", shape, 1.0)
    if name.endswith("bias"):
        return torch.zeros(shape)
    return normal(seed, f"p-tuning/{name}", shape, 1 / math.sqrt(shape[1]))


_KIND = Kind(_encoder, _start, SoftPrompt)


METHOD = averaged(
    lambda _: _KIND,
    name="p_tuning",
    title="P-tuning (soft prompts made by a network, averaged)",
    paper="arXiv 2103.10385",
    Config=Config,
)
