"""Forecast memory and time against real training: tensors that are tracked, and the whole process.

    python benchmarks/forecast.py [--models minilm base large] [--memory dropout-bits ...]

RoBERTa classifiers with random weights at the shapes of MiniLM, RoBERTa-base and RoBERTa-large,
batches of 8 x 128 tokens, dropout 0.1, two steps of each method with its default options. Each real
run has a process of its own. "tracked" follows live tensors; "process" is the resident peak, which
the product reports. Step times are CPU seconds of the second step. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import torch
from torch import Tensor
from training import SHAPES, batches, encoder

from fedkrso_core.device import prepare_process
from fedkrso_core.estimate.batch import Batch
from fedkrso_core.estimate.pace import step_seconds
from fedkrso_core.estimate.rehearsal import Rehearser
from fedkrso_core.estimate.tracker import LiveTensors
from fedkrso_core.lean import lean_model
from fedkrso_core.machine import Machine, this_machine
from fedkrso_core.memory import measured
from fedkrso_core.method import Client
from fedkrso_core.methods import METHODS
from fedkrso_core.spec import LocalSpec

ROWS, LENGTH, DROPOUT = 8, 128, 0.1
_MIB = 2**20


def real(name: str, method: str, local: LocalSpec) -> dict[str, float]:
    """Two real steps measured from outside, and two more with every tensor tracked."""
    device = prepare_process()
    model = encoder(name, DROPOUT)
    feed = batches(SHAPES[name][4], ROWS, LENGTH)
    ends: list[float] = []

    def some() -> Iterator[dict[str, Tensor]]:
        return (next(feed) for _ in range(local.steps))

    def train() -> None:
        chosen, who = METHODS[method], Client(
            0, 1, 0, local, 1, some, on_step=lambda _: ends.append(time.process_time())
        )  # fmt: skip
        config = chosen.Config()
        chosen.train(config, model, chosen.init(config, model, 0), who)

    with lean_model(model, local), measured(device) as peak:
        train()
    with lean_model(model, local), LiveTensors(device) as live:
        live.count(model)
        train()
    return {"process": peak.bytes, "tracked": live.peak_bytes, "step": ends[1] - ends[0]}


def real_elsewhere(name: str, method: str, local: LocalSpec) -> dict[str, float]:
    """`real` in a process of its own."""
    command = [sys.executable, __file__, "--real", name, method, local.model_dump_json()]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().split("\n")[-1])  # type: ignore[no-any-return]


def row(
    rehearser: Rehearser, name: str, method: str, local: LocalSpec, machine: Machine
) -> list[str]:
    """A row of the table."""
    start = time.perf_counter()
    shown = rehearser.play(METHODS[method], METHODS[method].Config(), local, Batch(ROWS, LENGTH))
    took = time.perf_counter() - start
    process = shown.peak_bytes + machine.resident_bytes
    step = step_seconds(shown.steps[-1], local.precision, machine)
    found = real_elsewhere(name, method, local)
    pairs = [
        (shown.peak_bytes / _MIB, found["tracked"] / _MIB, ".1f"),
        (process / _MIB, found["process"] / _MIB, ".1f"),
        (step, found["step"], ".2f"),
    ]
    cells = [f"{f:{form}} / {r:{form}} | {f / r:.3f}" for f, r, form in pairs]
    return [name, method, *cells, f"{took:.1f}"]


def main() -> None:
    """Prints the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--memory", nargs="*", help="options of local.memory")
    parser.add_argument("--real", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.real:
        name, method, local = args.real
        print(json.dumps(real(name, method, LocalSpec.model_validate_json(local))))
        return
    given = {} if args.memory is None else {"memory": tuple(args.memory)}
    local = LocalSpec(steps=2, batch_size=ROWS, max_length=LENGTH, lr=1e-4, **given)
    machine = this_machine()
    print(f"{machine}, torch {torch.__version__}, memory {', '.join(local.memory) or 'none'}\n")
    print("| model | method | tracked MiB, forecast / real | ratio | process MiB | ratio | s per "
          "step | ratio | s to forecast |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for name in args.models:
        rehearser = Rehearser(lambda: encoder(name, DROPOUT))  # noqa: B023 - called right away
        for method in args.methods:
            print(f"| {' | '.join(row(rehearser, name, method, local, machine))} |", flush=True)


if __name__ == "__main__":
    main()
