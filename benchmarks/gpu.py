"""Peak memory and step time on a GPU, and the largest decoder whose step fits.

    python benchmarks/gpu.py                       # RoBERTa-large and a 1 B decoder
    python benchmarks/gpu.py --fit 24 48 80        # the largest decoder in so many GB
    python benchmarks/gpu.py --device cpu --models tiny     # tries the script itself

Random weights, rank 4, AdamW; the encoder with batches of 8 x 128, decoders with 4 x 512. Peak is
that of torch's allocator over two steps; the time is the fastest of the later steps, wall clock,
synchronised. In bf16, full fine-tuning keeps float32 weights (autocast); LoRA and FedKRSO keep
their frozen weights in bfloat16. Each side in a process of its own. Runs on torch 2.8 and later.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from itertools import pairwise

import torch
from torch import nn
from training import DECODERS, SHAPES, Side, batches, decoder, encoder

from fedkrso_core.spec import EXACT_MEMORY as EXACT

FP32 = {
    "full": Side("fedavg"),
    "LoRA (peft)": Side("peft", ()),
    "FedKRSO": Side("fedkrso"),
    "full, checkpointing": Side("fedavg", (*EXACT, "checkpointing")),
    "LoRA (peft), checkpointing": Side("peft", ("checkpointing",)),
    "FedKRSO, checkpointing": Side("fedkrso", (*EXACT, "checkpointing")),
}
BF16 = {
    "full": Side("fedavg", precision="bf16"),
    "LoRA (peft)": Side("peft", ("bf16-weights",)),
    "FedKRSO": Side("fedkrso", (*EXACT, "bf16-weights")),
    "full, checkpointing": Side("fedavg", (*EXACT, "checkpointing"), "bf16"),
    "LoRA (peft), checkpointing": Side("peft", ("bf16-weights", "checkpointing")),
    "FedKRSO, checkpointing": Side("fedkrso", (*EXACT, "bf16-weights", "checkpointing")),
}
SETTINGS = {"fp32": FP32, "bf16": BF16}


def build(name: str, side: Side, device: str) -> tuple[nn.Module, int, tuple[int, int]]:
    """The model on the device, its vocabulary, and (rows, length) of a batch."""
    if name in SHAPES:
        return encoder(name, 0.1).to(device), SHAPES[name][4], (8, 128)
    dtype = torch.bfloat16 if "bf16-weights" in side.memory else torch.float32
    return decoder(name, dtype, device), 32_000, (4, 512)


def measure(name: str, setting: str, side_name: str, device: str, limit_gb: float) -> None:
    """Prints one side's peak and step time as JSON; {"fits": false} when memory runs out."""
    side = SETTINGS[setting][side_name]
    on_gpu = device.startswith("cuda")
    if on_gpu and limit_gb:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit_gb * 1e9 / total))
    ends: list[float] = []

    def tick(_: int) -> None:
        if on_gpu:
            torch.cuda.synchronize()
        ends.append(time.perf_counter())

    try:
        model, vocabulary, shape = build(name, side, device)
        side.train(model, batches(vocabulary, *shape, device), 2 if limit_gb else 6, tick)
    except torch.OutOfMemoryError:
        print(json.dumps({"fits": False}))
        return
    peak = torch.cuda.max_memory_allocated() if on_gpu else 0
    seconds = min(after - before for before, after in pairwise(ends))
    print(json.dumps({"fits": True, "peak": peak, "seconds": seconds}))


def side_of(
    name: str, setting: str, side: str, device: str, limit_gb: float = 0
) -> dict[str, float]:
    """`measure` in a fresh process."""
    one = [name, setting, side, str(limit_gb)]
    call = [sys.executable, "-W", "ignore", __file__, "--device", device, "--one", *one]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(names: list[str], device: str) -> None:
    """A table for each model and setting."""
    for name in names:
        for setting, sides in SETTINGS.items():
            print(f"\n{name}, {setting}\n\n| side | peak GiB | ms per step |\n|---|---|---|")
            for side in sides:
                found = side_of(name, setting, side, device)
                if not found["fits"]:
                    print(f"| {side} | out of memory | |", flush=True)
                    continue
                row = f"{found['peak'] / 2**30:.2f} | {found['seconds'] * 1e3:.1f}"
                print(f"| {side} | {row} |", flush=True)


def fit(limits: list[float], device: str) -> None:
    """The largest of the DECODERS whose two steps fit, in bf16."""
    print("| side |" + "".join(f" {limit:g} GB |" for limit in limits))
    print("|---|" + "---|" * len(limits))
    for side in BF16:
        cells = []
        for limit in limits:
            largest = "none"
            for name in [n for n in DECODERS if n != "tiny"]:
                if not side_of(name, "bf16", side, device, limit)["fits"]:
                    break
                largest = name
            cells.append(largest)
        print(f"| {side} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Prints Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", nargs="+", default=["large", "1B"])
    parser.add_argument("--fit", nargs="+", type=float, metavar="GB")
    parser.add_argument("--one", nargs=4, metavar=("MODEL", "SETTING", "SIDE", "LIMIT_GB"))
    args = parser.parse_args()
    if args.one:
        name, setting, side, limit = args.one
        measure(name, setting, side, args.device, float(limit))
        return
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device here; --device cpu tries the script itself")
    where = torch.cuda.get_device_name() if args.device.startswith("cuda") else args.device
    print(f"{where}, torch {torch.__version__}")
    if args.fit:
        fit(args.fit, args.device)
    else:
        compare(args.models, args.device)


if __name__ == "__main__":
    main()
