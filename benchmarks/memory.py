"""Peak memory of training: full fine-tuning, LoRA and FedKRSO, and what each option saves.

    python benchmarks/memory.py [--models base large] [--batches 8 32] [--dropout 0.1]
    python benchmarks/memory.py --options            # every option of local.memory by itself

RoBERTa shapes, random weights, 128 tokens, rank 4, AdamW, two steps (so that the optimizer's states
exist before the second). Each side in a process of its own. "live" is the peak of live tensors;
"process" is the peak of the resident size less its size before the model was made, with the
allocator that workers use (`fedkrso_core.memory.tune_allocator`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import torch
from training import SHAPES, Side, batches, encoder

from fedkrso_core.estimate.tracker import LiveTensors
from fedkrso_core.memory import measured, tune_allocator
from fedkrso_core.spec import EXACT_MEMORY as EXACT

FULL, LORA, FROZEN, OURS = "full", "LoRA (peft)", "ffa_lora", "FedKRSO"
CHECKPOINTED = ", checkpointing"
IN_PARTS = ", checkpointing, 8 rows at a time"  # local.micro_batch_size: 8
SIDES = {
    FULL: Side("fedavg", ()),
    LORA: Side("peft", ()),
    f"{FROZEN}, no option": Side("ffa_lora", ()),
    f"{OURS}, no option": Side("fedkrso", ()),
    "fedavg": Side("fedavg"),
    "fedit": Side("fedit"),
    FROZEN: Side("ffa_lora"),
    OURS: Side("fedkrso"),
    f"{OURS}, gelu-8bit": Side("fedkrso", (*EXACT, "gelu-8bit")),
    FULL + CHECKPOINTED: Side("fedavg", ("checkpointing",)),
    LORA + CHECKPOINTED: Side("peft", ("checkpointing",)),
    OURS + CHECKPOINTED: Side("fedkrso", (*EXACT, "checkpointing")),
}
# of batches of more than 8 rows; stock dropout draws other masks for a part, ours the same ones
PARTS = {
    FULL + IN_PARTS: Side("fedavg", ("checkpointing",), micro_batch_size=8),
    LORA + IN_PARTS: Side("peft", ("checkpointing",), micro_batch_size=8),
    OURS + IN_PARTS: Side("fedkrso", (*EXACT, "checkpointing"), micro_batch_size=8),
    f"{OURS}, 8 rows at a time": Side("fedkrso", micro_batch_size=8),
}
BARS = [  # side, at most this times, of side, batch sizes
    (OURS, 0.82, LORA, (8,)),
    (OURS, 0.49, FULL, (8,)),
    (OURS, 0.76, LORA, (32,)),
    (OURS, 1.0, FROZEN, (8, 32)),
    (f"{OURS}, no option", 1.0, f"{FROZEN}, no option", (8, 32)),
    (f"{OURS}, gelu-8bit", 0.70, LORA, (8, 32)),
    (OURS + CHECKPOINTED, 0.32, FULL + CHECKPOINTED, (8, 32)),
    (OURS + CHECKPOINTED, 1.0, LORA + CHECKPOINTED, (8, 32)),
    (OURS + IN_PARTS, 0.32, FULL + IN_PARTS, (32,)),
    (OURS + IN_PARTS, 0.32, FULL + CHECKPOINTED, (32,)),
    (OURS + IN_PARTS, 1.0, LORA + IN_PARTS, (32,)),
]
OPTIONS = {
    "no option": Side("fedkrso", ()),
    "dropout-bits": Side("fedkrso", ("dropout-bits",)),
    "attention-recompute": Side("fedkrso", ("attention-recompute",)),
    "default: both": Side("fedkrso"),
    "default + gelu-8bit": Side("fedkrso", (*EXACT, "gelu-8bit")),
    "default + checkpointing-mlp": Side("fedkrso", (*EXACT, "checkpointing-mlp")),
    "default + checkpointing": Side("fedkrso", (*EXACT, "checkpointing")),
    "default + bf16-weights": Side("fedkrso", (*EXACT, "bf16-weights")),
    "default + gelu-8bit + bf16-weights": Side("fedkrso", (*EXACT, "gelu-8bit", "bf16-weights")),
    "default + checkpointing + bf16-weights": Side(
        "fedkrso", (*EXACT, "checkpointing", "bf16-weights")
    ),
    "default + fused-cross-entropy": Side("fedkrso", (*EXACT, "fused-cross-entropy")),
    "default, precision bf16": Side("fedkrso", precision="bf16"),
}
MIB = 2**20


def peaks(side: Side, model: str, rows: int, dropout: float) -> dict[str, float]:
    """MiB of one side, measured in this process: live tensors, then the process."""
    import peft  # noqa: F401 - imported before the baseline, as what it needs is no tensor
    import transformers.models.roberta.modeling_roberta  # noqa: F401

    tune_allocator()
    with measured(torch.device("cpu")) as baseline:
        pass
    with measured(torch.device("cpu")) as process, LiveTensors() as live:
        encoded = encoder(model, dropout)
        live.count(encoded)
        side.train(encoded, batches(SHAPES[model][4], rows, 128), 2)
    return {
        "live": live.peak_bytes / MIB,
        "process": (process.bytes - baseline.bytes) / MIB,
        **{part: size / MIB for part, size in live.at_peak().items()},
    }


def measure(name: str, kind: str, model: str, rows: int, dropout: float) -> dict[str, float]:
    """`peaks` in a fresh process."""
    call = [sys.executable, "-W", "ignore", __file__, "--one", kind, name, model, str(rows)]
    done = subprocess.run(
        [*call, "--dropout", str(dropout)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def table(kind: str, model: str, rows: int, dropout: float) -> dict[str, dict[str, float]]:
    """Measures all sides and prints them as they come."""
    print(f"\nRoBERTa-{model}, batch {rows} x 128, dropout {dropout}, MiB\n")
    columns = ["live", "process", "weights", "gradients", "optimizer", "activations"]
    print("| side | " + " | ".join(columns) + " | live / LoRA (peft) |")
    print("|---|" + "---|" * (len(columns) + 1))
    found: dict[str, dict[str, float]] = {}
    sides = OPTIONS if kind == "options" else SIDES | (PARTS if rows > 8 else {})
    for name in {LORA: 0, **sides}:
        own = "options" if name in OPTIONS else "sides"
        found[name] = measure(name, own, model, rows, dropout)
        ratio = found[name]["live"] / found[LORA]["live"]
        cells = " | ".join(f"{found[name][column]:.0f}" for column in columns)
        print(f"| {name} | {cells} | {ratio:.3f} |", flush=True)
    return found


def judge(found: dict[str, dict[str, float]], rows: int) -> None:
    """Prints each bar with the ratio of live tensors and of the process."""
    for side, limit, other, sizes in BARS:
        if rows in sizes:
            live, process = (found[side][k] / found[other][k] for k in ("live", "process"))
            verdict = "holds" if max(live, process) <= limit + 5e-4 else "MISSED"
            print(
                f"{verdict}: {side} <= {limit:g} x {other}: live {live:.3f}, process {process:.3f}"
            )


def main() -> None:
    """Prints Markdown tables and the bars."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=["base", "large"])
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 32])
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--options", action="store_true")
    parser.add_argument("--one", nargs=4, metavar=("KIND", "SIDE", "MODEL", "ROWS"))
    args = parser.parse_args()
    if args.one:
        kind, name, model, rows = args.one
        side = {"options": OPTIONS, "sides": SIDES | PARTS}[kind][name]
        print(json.dumps(peaks(side, model, int(rows), args.dropout)))
        return
    for model in args.models:
        for rows in args.batches:
            found = table("options" if args.options else "sides", model, rows, args.dropout)
            if not args.options:
                judge(found, rows)


if __name__ == "__main__":
    main()
