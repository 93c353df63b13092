"""Time of a training step: full fine-tuning, LoRA with peft, LoRA with frozen A, FedKRSO.

    python benchmarks/step_time.py [--model base|minilm] [--dropout 0] [--repeats 6] [--settings]
    python benchmarks/step_time.py --settings --sides FedKRSO "precision: bf16"

RoBERTa-base shapes with batches of 8 x 128 tokens, or MiniLM shapes with 16 x 32; random weights,
rank 4, AdamW. CPU seconds (process time) from one step's end to the next one's, the sides in turn,
the minimum of all repeats; ratios are of the minima. --settings compares FedKRSO's settings of
`local.precision` and `local.memory` instead.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise

import torch
from torch import nn
from training import SHAPES, Side, batches, encoder

from fedkrso_core.memory import tune_allocator
from fedkrso_core.spec import EXACT_MEMORY

METHODS = {
    "full": Side("fedavg", ()),
    "LoRA (peft)": Side("peft", ()),
    "LoRA (fedit)": Side("fedit"),
    "LoRA, A frozen (ffa_lora)": Side("ffa_lora"),
    "FedKRSO": Side("fedkrso"),
}
SETTINGS = {
    "LoRA (peft)": Side("peft", ()),
    "FedKRSO": Side("fedkrso"),
    "memory: none": Side("fedkrso", ()),
    "memory: default + gelu-8bit": Side("fedkrso", (*EXACT_MEMORY, "gelu-8bit")),
    "memory: default + checkpointing-mlp": Side("fedkrso", (*EXACT_MEMORY, "checkpointing-mlp")),
    "memory: default + checkpointing": Side("fedkrso", (*EXACT_MEMORY, "checkpointing")),
    "memory: default + bf16-weights": Side("fedkrso", (*EXACT_MEMORY, "bf16-weights")),
    "precision: medium": Side("fedkrso", precision="medium"),
    "precision: bf16": Side("fedkrso", precision="bf16"),
    "checkpointing, 2 rows at a time": Side(
        "fedkrso", (*EXACT_MEMORY, "checkpointing"), micro_batch_size=2
    ),
    "2 rows at a time": Side("fedkrso", micro_batch_size=2),
}
BATCH = {"minilm": (16, 32), "base": (8, 128), "large": (8, 128)}
STEPS = 3


def step_seconds(side: Side, model: nn.Module, name: str) -> float:
    """CPU seconds of the fastest step but the first, which also makes the optimizer's states."""
    ends: list[float] = []
    feed = batches(SHAPES[name][4], *BATCH[name])
    side.train(model, feed, STEPS, lambda _: ends.append(time.process_time()))
    return min(after - before for before, after in pairwise(ends))


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=SHAPES, default="base")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--allocator", choices=["fast", "lean"], default="fast")
    parser.add_argument("--settings", action="store_true", help="FedKRSO's settings")
    parser.add_argument("--sides", nargs="+", metavar="SIDE", help="only these of the table")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.allocator == "lean":
        tune_allocator()
    sides = SETTINGS if args.settings else METHODS
    if unknown := set(args.sides or ()) - set(sides):
        parser.error(f"--sides {sorted(unknown)}: unknown; allowed: {list(sides)}")
    sides = {name: sides[name] for name in args.sides or sides}
    model = encoder(args.model, args.dropout)
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(args.repeats):
        for name, side in sides.items():
            best[name] = min(best[name], step_seconds(side, model, args.model))
    print(
        f"{args.model}, batch {BATCH[args.model]}, dropout {args.dropout}, {args.threads} thread, "
        f"{args.allocator} allocator"
    )
    references = ["LoRA (peft)", "FedKRSO"] if args.settings else ["full", "LoRA (peft)"]
    references = [name for name in references if name in sides]
    print("| side | CPU s per step |" + "".join(f" / {name} |" for name in references))
    print("|---|---|" + "---|" * len(references))
    for name, seconds in best.items():
        ratios = "".join(f" {seconds / best[one]:.3f} |" for one in references)
        print(f"| {name} | {seconds:.3f} |{ratios}")


if __name__ == "__main__":
    main()
