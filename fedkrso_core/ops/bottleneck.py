"""Bottleneck adapters: y -> y + U act(D y) after a sublayer, D (w, d), U (d, w).

Houlsby et al., arXiv 1902.00751, after attention and feed-forward; Pfeiffer et al., arXiv
2005.00247, after feed-forward alone. Both put it on the sublayer's output before it is added to the
residual stream, which is the output of the sublayer's last projection.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from fedkrso_core.attached import Attachment
from fedkrso_core.errors import MethodError
from fedkrso_core.lean.checkpoint import layers_of
from fedkrso_core.ops import bottleneck_code
from fedkrso_core.ops.bottleneck_code import Bottleneck, key_of
from fedkrso_core.ops.layers import d_out_of, is_affine

_ATTENTION = re.compile(r"(^|[._])(attn|attention|self_attn)([._]|$)", re.IGNORECASE)
CODE = "modeling_bottleneck.py"


class Bottlenecks(Attachment):
    """A bottleneck at the output of each named layer."""

    folder, needs_base = "model", False

    def __init__(self, adapters: Mapping[str, Bottleneck]) -> None:
        super().__init__()
        self.names = list(adapters)
        self.adapters = nn.ModuleDict({key_of(name): one for name, one in adapters.items()})

    def hook(self, model: nn.Module) -> list[RemovableHandle]:
        """After each of the layers."""
        return bottleneck_code.hook(model, self.names, self.adapters)

    def save(self, model: Any, out: Path, base: str) -> None:
        """All weights, and the code of a model that has them: what transformers loads."""
        folder, config = out / self.folder, model.config
        model.save_pretrained(folder, state_dict=self._weights(model))
        text = _code(type(config).__name__, type(model).__name__)
        (folder / CODE).write_text(text, encoding="utf-8")
        first: Any = next(iter(self.adapters.values()))
        own = {
            "model_type": f"bottleneck-{config.model_type}",
            "architectures": ["BottleneckModel"],
            "auto_map": _auto_map(type(model).__name__),
            "bottleneck": {"layers": self.names, "width": first.down.out_features,
                           "activation": first.activation},
        }  # fmt: skip
        _change_json(folder / "config.json", own)

    def _weights(self, model: nn.Module) -> dict[str, Any]:
        prefix = f"{getattr(model, 'base_model_prefix', '')}."
        own = {f"{prefix}attached.{n}": t for n, t in self.state_dict().items()}
        return {**model.state_dict(), **own}

    def loading(self, auto: str, base: str, options: str) -> list[str]:
        """transformers, which asks leave to run the code beside the weights."""
        return [
            f"from transformers import {auto}, AutoTokenizer",
            "",
            f'model = {auto}.from_pretrained("{self.folder}", trust_remote_code=True)',
            f'tokenizer = AutoTokenizer.from_pretrained("{self.folder}")',
        ]


def _auto_map(model: str) -> dict[str, str]:
    module = CODE.removesuffix(".py")
    task = "CausalLM" if not model.endswith("ForSequenceClassification") else None
    auto = f"AutoModelFor{task or 'SequenceClassification'}"
    return {"AutoConfig": f"{module}.BottleneckConfig", auto: f"{module}.BottleneckModel"}


def _change_json(path: Path, changes: Mapping[str, Any]) -> None:
    import json

    known = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**known, **changes}, indent=2) + "\n", encoding="utf-8")


def _code(config: str, model: str) -> str:
    """The file that travels: the adapter's own code, and the model that has adapters."""
    body = inspect.getsource(bottleneck_code)
    return f"""{body}

from transformers import {config} as _Config, {model} as _Model


class BottleneckConfig(_Config):
    model_type = "bottleneck-" + _Config.model_type


class BottleneckModel(_Model):
    config_class = BottleneckConfig

    def __init__(self, config):
        super().__init__(config)
        add_bottlenecks(self, **config.bottleneck)
"""


def sublayer_outputs(model: nn.Module, attention: bool) -> dict[str, nn.Module]:
    """The last projection of the feed-forward part of each layer, and of the attention if asked.

    MethodError where a layer has none that gives what it takes.
    """
    names = {id(module): name for name, module in model.named_modules()}
    found: dict[str, nn.Module] = {}
    for layer in layers_of(model):
        affine = {n: m for n, m in layer.named_modules() if is_affine(m)}
        if not affine:
            raise MethodError(f"{names[id(layer)]} has no Linear layer to put an adapter after")
        of_attention = {n: m for n, m in affine.items() if _ATTENTION.search(n)}
        rest = [m for n, m in affine.items() if n not in of_attention]
        chosen = [*(list(of_attention.values())[-1:] if attention else []), *rest[-1:]]
        if len(chosen) != 1 + attention:
            raise MethodError(
                f"{names[id(layer)]} has not both attention and feed-forward; "
                f"its Linear layers are {sorted(affine)}"
            )
        found |= {names[id(module)]: module for module in chosen}
    _require_one_width(found)
    return found


def _require_one_width(layers: Mapping[str, nn.Module]) -> None:
    widths = {d_out_of(layer) for layer in layers.values()}
    if len(widths) > 1:
        raise MethodError(f"the layers' outputs have different widths: {sorted(widths)}")


def bottlenecks_of(
    layers: Iterable[str], width: int, size: int, activation: str
) -> dict[str, Bottleneck]:
    """New bottlenecks of these sizes, D (width, size), on torch's current default device."""
    return {name: Bottleneck(size, width, activation) for name in layers}
