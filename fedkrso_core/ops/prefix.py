"""Prefixes: trained keys and values before those of a text, in every layer.

    softmax(q [K_p; K]^T / sqrt(s)) [V_p; V],  K_p, V_p (heads, v, s) of each layer

They enter as the keys and values of v tokens that the model has read before, which is how peft does
it: so the text's positions begin at v.
"""

from __future__ import annotations

import inspect
from functools import cache as once
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fedkrso_core.attached import Attachment, body_of
from fedkrso_core.errors import MethodError
from fedkrso_core.ops.peft_folder import peft_loading, save_prefix

Kwargs = dict[str, Any]


class Prefix(Attachment):
    """Keys and values of v tokens; `source()` gives them, (v, layers 2 heads size)."""

    def __init__(self, source: nn.Module, positions: int) -> None:
        super().__init__()
        self.source, self.positions = source, positions
        self._shape: tuple[int, int, int] | None = None

    def hook(self, model: nn.Module) -> list[RemovableHandle]:
        """Before the body, which takes keys and values in every architecture."""
        self._shape = shape_of_keys(model)
        return [body_of(model).register_forward_pre_hook(self._before, with_kwargs=True)]

    def _before(self, body: Any, args: tuple[Any, ...], given: Kwargs) -> tuple[Any, Kwargs]:
        bound = inspect.signature(body.forward).bind_partial(*args, **given)
        named = {**bound.arguments, **bound.arguments.pop("kwargs", {})}
        rows = named["input_ids"]
        if named.get("past_key_values") is None:
            named["past_key_values"] = self._cache(body, len(rows))
        mask, places = named.get("attention_mask"), named.get("position_ids")
        if mask is not None:
            ones = mask.new_ones(len(rows), self.positions)
            named["attention_mask"] = torch.cat([ones, mask], 1)
        if places is not None:
            named["position_ids"] = places + self.positions
        return (), named

    def _cache(self, body: nn.Module, rows: int) -> Any:
        assert self._shape is not None
        layers, heads, size = self._shape
        dtype = next(body.parameters()).dtype  # of the frozen weights, which may be bfloat16
        prefix = self.source().to(dtype).view(self.positions, layers, 2, heads, size)
        cache = _cache_class(body.training)()
        for layer in range(layers):
            keys, values = (_for_rows(prefix[:, layer, side], rows) for side in (0, 1))
            cache.hold(keys, values, layer)
        return cache

    def save(self, model: nn.Module, out: Path, base: str) -> None:
        """A folder of peft's prefix tuning."""
        assert self._shape is not None
        save_prefix(model, out / self.folder, base, self.source(), self._shape)

    def loading(self, auto: str, base: str, options: str) -> list[str]:
        """peft on top of the base model."""
        return peft_loading(auto, base, options, self.folder)


@once
def _cache_class(training: bool) -> Any:
    """transformers' cache, which in training keeps nothing but the prefix.

    A layer whose forward pass is computed again for its gradients then finds what it found before.
    """
    from transformers import DynamicCache

    class PrefixCache(DynamicCache):
        def hold(self, keys: Tensor, values: Tensor, layer: int) -> None:
            super().update(keys, values, layer)

        def update(
            self, keys: Tensor, values: Tensor, layer: int, *args: Any, **named: Any
        ) -> tuple[Tensor, Tensor]:
            if not training:
                return super().update(keys, values, layer, *args, **named)  # type: ignore[no-any-return]
            own = self.layers[layer]
            # beside autocast the new ones may be bfloat16
            before = own.keys.to(keys.dtype), own.values.to(values.dtype)
            return torch.cat([before[0], keys], -2), torch.cat([before[1], values], -2)

    return PrefixCache


def _for_rows(part: Tensor, rows: int) -> Tensor:
    """(v, heads, size) -> (rows, heads, v, size)."""
    return part.transpose(0, 1).expand(rows, -1, -1, -1)


def shape_of_keys(model: Any) -> tuple[int, int, int]:
    """Layers, heads and size of a head, of the model's keys."""
    config = model.config
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return config.num_hidden_layers, getattr(config, "num_key_value_heads", None) or heads, size


def check_prefix(model: Any) -> None:
    """MethodError for a model that takes no earlier keys and values, or forgets them."""
    kind, body = model.config.model_type, body_of(model)
    if "past_key_values" not in inspect.signature(body.forward).parameters:
        raise MethodError(f"a {kind} takes no keys and values of a prefix; use prompt_tuning")
    layers = set(getattr(model.config, "layer_types", None) or ()) - {"full_attention"}
    if layers:
        found = ", ".join(sorted(layers))
        raise MethodError(f"a {kind} has layers of {found}, which would lose a prefix")
