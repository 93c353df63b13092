"""Live tensor memory, event by event: how much is alive, when the peak was, what it was made of.

A dispatch mode sees every operator, and with it every storage that comes to life; a weak reference
tells when it dies. What an operator allocates inside itself is not seen. It works on tensors with
values and on fake ones, whose storages have a size but no bytes.

What a storage is for is often known only later (a gradient is one when an optimizer steps on it),
so the log holds storages, and their tags are looked up when it is read.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Part = Literal["weights", "gradients", "optimizer", "activations"]
_aten = torch.ops.aten


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the storages on one kind of device that come to life inside its block.

        with LiveTensors() as live:
            live.count(model)
            train(model)
        live.peak_bytes, live.at_peak()

    Views share their storage and count once. Storages from before the block do not count unless
    `count` names them. Optimizers that step inside the block tag their parameters, gradients and
    states by themselves; what has no tag is an activation. The first tag of a storage stays.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = self.peak_bytes = 0
        self._device = torch.device(device).type
        self._alive: dict[int, tuple[int, weakref.ref[Any]]] = {}  # address -> number, reference
        self._sizes: list[int] = []  # bytes of each storage, by its number
        self._tags: dict[int, Part] = {}
        self._events: list[int] = []  # n: storage n came to life; ~n: it died
        self._peak_at = 0  # how many events led to the peak
        self._hooks: list[Any] = []

    def __enter__(self) -> LiveTensors:
        self._hooks = [
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        ]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for hook in self._hooks:
            hook.remove()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            address = self._address(tensor)
            if address is None or address in self._alive:
                continue
            # torch.tensor(...) makes its storage unseen and shows it with lift_fresh
            if func is _aten.lift_fresh.default or not self._holds(address, (args, kwargs)):
                self._add(address, tensor.untyped_storage())
        return result

    def count(self, tensors: nn.Module | Iterable[Tensor], tag: Part = "weights") -> None:
        """Tags tensors, or a module's parameters and buffers; counts those from before."""
        if isinstance(tensors, nn.Module):
            tensors = [*tensors.parameters(), *tensors.buffers()]
        for tensor in tensors:
            address = self._address(tensor)
            if address is None:
                continue
            if address not in self._alive:
                self._add(address, tensor.untyped_storage())
            self._tags.setdefault(self._alive[address][0], tag)

    def tag_rest(self, tag: Part) -> None:
        """Tags everything that is alive now and has no tag yet."""
        for number, _ in self._alive.values():
            self._tags.setdefault(number, tag)

    def at_peak(self) -> dict[Part, int]:
        """Bytes of each part at the peak; they add up to `peak_bytes`."""
        parts: dict[Part, int] = dict.fromkeys(
            ("weights", "gradients", "optimizer", "activations"), 0
        )
        for event in self._events[: self._peak_at]:
            number, sign = (event, 1) if event >= 0 else (~event, -1)
            parts[self._tags.get(number, "activations")] += sign * self._sizes[number]
        return parts

    def _before_step(self, optimizer: Optimizer, *_: Any) -> None:
        trained = _parameters(optimizer)
        self._tag(trained, "weights")
        self._tag((p.grad for p in trained if p.grad is not None), "gradients")

    def _after_step(self, optimizer: Optimizer, *_: Any) -> None:
        self._tag(
            (t for t in tree_leaves(list(optimizer.state.values())) if _is_tensor(t)), "optimizer"
        )

    def _tag(self, tensors: Iterable[Tensor], tag: Part) -> None:
        for tensor in tensors:
            address = self._address(tensor)
            if address in self._alive:
                self._tags.setdefault(self._alive[address][0], tag)

    def _address(self, tensor: Any) -> int | None:
        """Of the storage, unique among the living; None for what is not followed."""
        if not _is_tensor(tensor) or tensor.device.type != self._device:
            return None
        try:
            storage = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):  # sparse tensors have none
            return None
        return storage._cdata  # type: ignore[attr-defined, no-any-return]

    def _holds(self, address: int, inputs: Any) -> bool:
        return any(self._address(tensor) == address for tensor in tree_leaves(inputs))

    def _add(self, address: int, storage: torch.UntypedStorage) -> None:
        number = len(self._sizes)

        def died(_: Any) -> None:
            del self._alive[address]
            self._events.append(~number)
            self.live_bytes -= self._sizes[number]

        self._alive[address] = number, weakref.ref(storage, died)
        self._sizes.append(storage.nbytes())
        self._events.append(number)
        self.live_bytes += self._sizes[number]
        if self.live_bytes > self.peak_bytes:
            self.peak_bytes, self._peak_at = self.live_bytes, len(self._events)


class NoValues(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Lets code ask fake and meta tensors for their values: each element is taken to be `value`.

    `float(t)`, `t.item()` and `bool(t)` give it, and `t.nonzero()` finds every element or none.
    """

    def __init__(self, value: Literal[0, 1] = 1) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._value = value

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _ANSWERS and _has_no_value(args[0]):
            return _ANSWERS[func](args[0], self._value)
        return func(*args, **(kwargs or {}))


def _number(tensor: Tensor, value: int) -> float:
    if tensor.dtype == torch.bool:
        return bool(value)
    return float(value) if tensor.is_floating_point() else value


def _places(tensor: Tensor, value: int) -> Tensor:
    return tensor.new_ones((value * tensor.numel(), tensor.dim()), dtype=torch.int64)


_ANSWERS: dict[Any, Callable[[Tensor, int], Any]] = {
    _aten._local_scalar_dense.default: _number,
    _aten.nonzero.default: _places,
}


def _has_no_value(tensor: Tensor) -> bool:
    if isinstance(tensor, FakeTensor):
        return tensor.constant is None
    return tensor.is_meta


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]
