"""What this machine does in a second, and what a training process takes beside its tensors.

Measured once for each device and number of threads, in a few seconds and in a process of its own:
it has what a worker imports, a worker's threads and allocator, and nothing else. (An API process
has other memory and another allocator.)

    python -m fedkrso_core.machine        prints the measurements as JSON
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from fedkrso_core.data import load
from fedkrso_core.device import default_device, default_threads, prepare_process
from fedkrso_core.errors import CoreError
from fedkrso_core.lean.precision import products
from fedkrso_core.memory import measured
from fedkrso_core.models import from_config, load_tokenizer
from fedkrso_core.spec import JobSpec, Precision

_PRECISIONS: tuple[Precision, ...] = ("fp32", "medium", "bf16")
# (n, d_in, d_out) of RoBERTa-base at 8 x 128 tokens; between 384 and 3072 wide the rate of a core
# was the same within 8 % (0.10 to 0.12 TFLOP/s in fp32)
_PRODUCT = (1024, 768, 3072)
_SMALL, _LARGE = 3 * 2**18, 3 * 2**20  # numbers in a layer's output, and in an MLP's inner one
_REPEATS, _ENOUGH_S = 12, 0.25


@dataclass(frozen=True)
class Machine:
    """Rates of a device, and the resident size of a process that trains next to nothing."""

    device: str  # cpu or the name of the card
    threads: int
    resident_bytes: int  # 0 on CUDA, where a client reports the allocator's peak alone
    products: dict[Precision, float]  # floating-point operations per second
    moved: float  # bytes read and written per second
    fresh: float  # bytes of new memory per second
    noise: float  # random numbers per second
    operator_s: float  # seconds for a call of an operator, forward or backward

    def __str__(self) -> str:
        if self.device != "cpu":
            return f"cuda, {self.device}"
        return f"cpu, {self.threads} thread{'' if self.threads == 1 else 's'}"


def this_machine(spec: JobSpec | None = None) -> Machine:
    """The measurements for the device and the threads that a worker would take here.

    The process holds the tokenizer and the rows of `spec`. CoreError if it fails.
    """
    inputs = ""
    if spec is not None:  # what else a job says, its name above all, must not measure anew
        held = {"model": spec.model, "data": spec.data, "task": spec.task}
        inputs = JobSpec(name="measured", **held).model_dump_json()
    return _in_child(inputs, str(default_device()), default_threads())


@cache
def _in_child(inputs: str, device: str, threads: int) -> Machine:
    command = [sys.executable, "-W", "ignore", "-m", "fedkrso_core.machine"]
    given = {"FEDKRSO_DEVICE": device, "FEDKRSO_THREADS": str(threads)}
    done = subprocess.run(
        command,
        input=inputs,
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last_line = done.stderr.strip().split("\n")[-1]
        raise CoreError(f"the speed of this machine cannot be measured: {last_line}")
    return Machine(**json.loads(done.stdout.strip().split("\n")[-1]))


def _measure(inputs: str) -> Machine:
    device = prepare_process()
    on_cpu = device.type == "cpu"
    resident = _resident_bytes(inputs) if on_cpu else 0
    with torch.device(device):
        small, large, other = torch.ones(_SMALL), torch.ones(_LARGE), torch.ones(_LARGE)
        return Machine(
            device="cpu" if on_cpu else torch.cuda.get_device_name(device),
            threads=torch.get_num_threads(),
            resident_bytes=resident,
            products={name: _product_rate(name) for name in _PRECISIONS},
            # not a sum: what a step does between its products has some arithmetic too
            moved=2 * 4 * _LARGE / _fastest(lambda: torch.ops.aten.gelu.out(large, out=other)),
            fresh=4 * _SMALL / _fastest(lambda: small.new_ones(_SMALL)),
            noise=_SMALL / _fastest(lambda: small.bernoulli_(0.9)),
            operator_s=_operator_s(),
        )


def _product_rate(precision: Precision) -> float:
    n, d_in, d_out = _PRODUCT
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    x, weight = torch.ones(n, d_in, dtype=dtype), torch.ones(d_in, d_out, dtype=dtype)
    y = torch.ones(n, d_out, dtype=dtype)

    def seconds(rows: int) -> float:
        return _fastest(lambda: torch.mm(x[:rows], weight, out=y[:rows]))

    with products(precision):
        # a CPU without instructions for bf16 does 1 GFLOP/s in it: five seconds for the whole
        few = n // 64
        if (took := seconds(few)) * n / few > _ENOUGH_S:
            return 2 * few * d_in * d_out / took
        return 2 * n * d_in * d_out / seconds(n)


def _operator_s() -> float:
    """Of many small operators with gradients: each is called once forward and once backward."""
    count, leaf = 200, torch.ones(8, requires_grad=True)

    def run() -> None:
        y: Tensor = leaf
        for _ in range(count):
            y = y * 1.5
        y.sum().backward()  # type: ignore[no-untyped-call]

    return _fastest(run) / (2 * count)


def _fastest(call: Callable[[], Any]) -> float:
    """Seconds of the quickest of some calls, the first one aside; fewer calls if they are slow."""
    took: list[float] = []
    while len(took) <= _REPEATS and (len(took) < 2 or sum(took) < _ENOUGH_S):
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        took.append(time.perf_counter() - start)
    return min(took[1:])


def _resident_bytes(inputs: str) -> int:
    """The resident peak while a model of a few thousand numbers is trained.

    Not just that of the imports: the libraries load some of their code when it is first used.
    """
    import transformers

    import fedkrso_core.workload  # noqa: F401 - a worker has it

    held: list[Any] = []
    if inputs:
        spec = JobSpec.model_validate_json(inputs)
        rows = load(spec.data, spec.seed, task=spec.task, labelled=False)
        held = [rows, load_tokenizer(spec.model)]
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=32, num_hidden_layers=1, **sizes)
    model = from_config(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    with measured(torch.device("cpu")) as peak:
        ids = torch.ones(4, 8, dtype=torch.int64)
        model(input_ids=ids, labels=ids[:, 0]).loss.backward()
        optimizer.step()
    del held
    return peak.bytes


if __name__ == "__main__":
    print(json.dumps(asdict(_measure(sys.stdin.read()))))  # noqa: T201 - `_in_child` reads it
