"""What a stretch of work computes: its operators, with their arithmetic and their traffic.

Counted from shapes alone, so it works on fake tensors. Arithmetic is that of matrix products, by
torch's own formulas. Traffic is the bytes of all inputs and outputs; of them `fresh` are those of
outputs in memory that the operator asks the system for, which costs much more than writing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from fedkrso_core.repeats import times

Kind = Literal["fp32", "medium", "bf16", "noise", "other"]
_aten = torch.ops.aten
_NOISE = frozenset(("bernoulli_", "bernoulli", "native_dropout", "rand_like", "random_"))
_LOOK_UPS = frozenset(("embedding", "index", "index_select", "gather"))


class Operation(NamedTuple):
    """An operator's cost; `kind` says which rate applies: of products, by their arithmetic."""

    kind: Kind
    work: int = 0  # floating-point operations of a product, numbers drawn of noise
    moved: int = 0  # bytes
    fresh: int = 0  # bytes


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operators that run inside its block."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[Operation] = Counter()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func.namespace != "prim":  # questions such as "on which device?"
            self.counts[_operation(func, args, kwargs, result)] += times()
        return result


def _operation(func: Any, args: Any, kwargs: Mapping[str, Any], result: Any) -> Operation:
    name = func._schema.name.removeprefix("aten::")
    taken, given = _tensors((args, kwargs)), _tensors(result)
    own = {_address(tensor) for tensor in taken}
    made = [tensor for tensor in given if _address(tensor) not in own]
    fresh = sum(map(_bytes, made))
    if func.is_view or name == "_unsafe_view":
        return Operation("other")
    if name.startswith(("empty", "new_empty")):
        return Operation("other", fresh=fresh)
    if name in _LOOK_UPS:  # they read a few rows of a large table
        return Operation("other", 0, 2 * fresh, fresh)
    moved = sum(map(_bytes, [*taken, *given]))
    if name in _NOISE:
        return Operation("noise", given[0].numel(), moved, fresh)
    flops = _flops(name, args, kwargs, result)
    return Operation(_arithmetic(taken) if flops else "other", flops, moved, fresh)


def _flops(name: str, args: Any, kwargs: Mapping[str, Any], result: Any) -> int:
    if name.startswith("_scaled_dot_product_flash_attention_for_cpu"):  # torch has no formula
        shapes = [tensor.shape for tensor in _tensors(args)]
        if "backward" in name:
            return int(sdpa_backward_flop_count(*shapes[:4]))  # type: ignore[no-untyped-call]
        return int(sdpa_flop_count(*shapes[:3]))  # type: ignore[no-untyped-call]
    packet = getattr(_aten, name.removesuffix("_"), None)  # addmm_ costs what addmm does
    formula = flop_registry.get(packet)
    return int(formula(*args, **kwargs, out_val=result)) if formula else 0


def _arithmetic(taken: list[Tensor]) -> Kind:
    if taken[0].dtype in (torch.bfloat16, torch.float16):
        return "bf16"
    return "fp32" if torch.get_float32_matmul_precision() == "highest" else "medium"


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _address(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensor: Tensor) -> int:
    """Bytes behind a tensor; an expanded one holds fewer than its shape says."""
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    return math.prod(size for size, stride in sizes if stride) * tensor.element_size()
