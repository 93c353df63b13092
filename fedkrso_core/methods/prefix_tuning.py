"""Prefix tuning: keys and values of virtual tokens in every layer are trained, and averaged.

Li, Liang, "Prefix-Tuning: Optimizing Continuous Prompts for Generation", ACL 2021,
arXiv 2101.00190; without its network as in P-tuning v2 (Liu et al., ACL 2022, arXiv 2110.07602).

    client c:  keys and values [K_c; K], [V_c; V] in each of L layers, local steps on K_c, V_c
    server:    K = sum_c (n_c/n) K_c ;  V likewise

| symbol | name here | shape |
|---|---|---|
| K, V of all layers | "prompt/embedding.weight" | (v, 2 L a s) |
| v | tokens | scalar |
| a, s | heads of the keys and their size | scalars |

Up and down: 8 v L a s bytes, and the classifier; down nothing before round 1: the prefix begins
from the job's seed. All of W is frozen. The mean of the prefixes is exact: the model has K and V
themselves.

The trained module is peft's PrefixEncoder without its projection: an average of networks would be
none of what they make. A prefix cannot be merged into W: what is exported is a folder that peft
loads on top of the base model. Models that take no earlier keys and values are refused.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from fedkrso_core.ops.prefix import Prefix, check_prefix, shape_of_keys
from fedkrso_core.ops.prompts import Kind, PromptConfig, averaged, check_prompts, normal
from fedkrso_core.spec import LocalSpec


class Config(PromptConfig):
    """Options of prefix tuning."""

    std: float = Field(
        0.1, gt=0, description="Standard deviation of the numbers that the prefix begins with"
    )


def _encoder(config: Config, model: Any) -> nn.Module:
    from peft import PrefixEncoder, PrefixTuningConfig

    layers, heads, size = shape_of_keys(model)
    own = PrefixTuningConfig(
        num_virtual_tokens=config.tokens,
        token_dim=heads * size,
        num_layers=layers,
        num_attention_heads=heads,
        num_transformer_submodules=1,
    )
    return PrefixEncoder(own)  # type: ignore[no-any-return]


def _kind(config: Config) -> Kind:
    def start(name: str, shape: torch.Size, model: nn.Module, seed: int) -> Tensor:
        return normal(seed, "prefix", shape, config.std)

    return Kind(_encoder, start, Prefix)


def check(config: Config, model: nn.Module, local: LocalSpec) -> None:
    """MethodError if the virtual tokens do not fit, or the model takes no prefix."""
    check_prefix(model)
    check_prompts(config, model, local)


METHOD = averaged(
    _kind,
    name="prefix_tuning",
    title="Prefix tuning (keys and values, averaged)",
    paper="arXiv 2101.00190",
    Config=Config,
    check=check,
)
