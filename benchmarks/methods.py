"""Every method of the registry side by side on SST-2 with label-skewed clients.

    python benchmarks/methods.py                 # data of the hub: glue/sst2
    python benchmarks/methods.py --data FOLDER   # train.jsonl.gz and validation.jsonl.gz in it
    python benchmarks/methods.py --table         # what is finished so far; --csv FILE writes it
    python benchmarks/methods.py --forecast      # bytes and live memory of all, without training

MiniLM, 10 clients, Dirichlet(0.5), all of them in each of 4 rounds of 20 steps: with some of them
the labels of the last round's clients decide. For each method three learning rates are tried in
jobs of half as many rounds and steps whose validation rows are a held-out tenth of a sample of
train; the best by loss is trained in full, once, and measured on the validation rows of SST-2,
which chose nothing. Personal methods are measured on the clients' own models.

Two rows are no methods: `untrained` is the model before round 1, and `classifier` trains nothing
else (LoRA at a rate of 1e-12). What a method adds is the distance from the second.

Each run has a process of its own and adds a line to the ledger when it is finished. A run that has
its line is not run again, so the script can be stopped and started at any time, on other machines
too. Seconds are those of the CPU, for the whole run: reading the data, training, aggregation, one
evaluation. Loading the libraries is not in them, as runs fork from a process that has them.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from fedkrso_core.errors import MethodError
from fedkrso_core.methods import METHODS
from fedkrso_core.spec import JobSpec

LORA = {"rank": 4, "alpha": 8}
# options beside the defaults, and the learning rates that are tried
TRIED: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "fedavg": ({}, (1e-4, 2e-4, 4e-4)),
    "fedit": (LORA, (2e-3, 4e-3, 8e-3)),
    "fedkrso": ({"rank": 4, "seeds": 10, "interval": 5}, (6e-4, 1.2e-3, 2.4e-3)),
    "ffa_lora": (LORA, (6e-3, 1.2e-2, 2.4e-2)),
    "rolora": (LORA, (6e-3, 1.2e-2, 2.4e-2)),
    "flora": (LORA, (2e-3, 4e-3, 8e-3)),
    "flexlora": (LORA, (2e-3, 4e-3, 8e-3)),
    "fedex_lora": (LORA, (2e-3, 4e-3, 8e-3)),
    "fed_sb": ({"rank": 32}, (3e-3, 1e-2, 3e-2)),
    "slora": (LORA, (2e-3, 4e-3, 8e-3)),
    "fedsa_lora": (LORA, (2e-3, 4e-3, 8e-3)),
    "fedtt": ({}, (3e-3, 1e-2, 3e-2)),
    "fedtt_plus": ({}, (3e-3, 1e-2, 3e-2)),
    "gradualdiff": ({"density": 0.1, "precision": "bf16"}, (1e-4, 2e-4, 4e-4)),
    "fedcybgd": ({}, (2e-4, 4e-4, 8e-4)),
    "ferret": ({}, (1e-4, 2e-4, 4e-4)),
    "spafl": ({}, (1e-4, 2e-4, 4e-4)),
    "prompt_tuning": ({}, (3e-2, 1e-1, 3e-1)),
    "p_tuning": ({}, (1e-3, 3e-3, 1e-2)),
    "prefix_tuning": ({}, (1e-2, 3e-2, 1e-1)),
    "fedpeptao": ({}, (1e-2, 3e-2, 1e-1)),
    "bottleneck": ({}, (1e-3, 3e-3, 1e-2)),
    "fedkseed": ({}, (1e-6, 1e-5, 1e-4)),
    "fedbpt": ({}, (0.3, 1.0, 3.0)),
}
CLASSIFIER = ("fedit", LORA, 1e-12)  # in place of a method: nothing but the classifier moves
UNTRAINED, ALONE = "untrained", "classifier"
COLUMNS = ("method", "lr", "accuracy", "loss", "mcc", "kB up", "kB down", "peak MiB", "CPU s")
HUB = {"train": "hf:glue/sst2", "validation": "hf:glue/sst2"}
HERE = Path(__file__).parent


def job(name: str, method: dict[str, Any], lr: float, sweep: bool) -> dict[str, Any]:
    """The job of one run; a sweep's has a part of train as its validation rows."""
    rounds, steps = (2, 10) if sweep else (4, 20)
    local: dict[str, Any] = {"steps": steps, "batch_size": 16, "max_length": 48, "head_lr": 1e-3}
    if sweep:
        local |= {"memory": []}  # faster, and the very same numbers
    data: dict[str, Any] = {**HUB, "text": "sentence", "label": "label"}
    if sweep:
        data |= {"validation": None, "max_rows": 4000}
    return {
        "name": f"sst2-{name}",
        "model": "minilm",
        "data": data,
        "partition": {"kind": "dirichlet", "alpha": 0.5},
        "clients": {"count": 10, "per_round": 10},
        "rounds": rounds,
        "local": {**local, "lr": lr},
        "method": method,
        "evaluate": {"every": rounds, "batch_size": 16, "own_rows": 200},
        "seed": 1000 if sweep else 0,
    }


def carry_out(spec: dict[str, Any], untrained: bool) -> dict[str, Any]:
    """Runs a job in this process; what the ledger keeps of it."""
    from fedkrso_core import simulate, workload
    from fedkrso_core.device import prepare_process

    began = time.process_time()
    if spec["data"]["validation"] is None:  # of a sweep the memory is not shown
        os.environ["FEDKRSO_ALLOCATOR"] = "fast"
    with tempfile.TemporaryDirectory() as folder:
        if untrained:
            device = prepare_process()
            own = workload.Workload(JobSpec.model_validate(spec), Path(folder), device)
            own.global_model.untrained()
            return {"metrics": own.evaluate()}
        try:
            summary = simulate.run(JobSpec.model_validate(spec), Path(folder))
        except MethodError as error:
            if "lower local.lr" not in str(error):  # training diverged: that is a result
                raise
            return {"error": str(error)}
    kept = {name: summary[name] for name in ("metrics", "totals", "rounds", "device")}
    return {**kept, "cpu_seconds": round(time.process_time() - began, 1)}


class Ledger:
    """The finished runs, one a line, by the job that each has run."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._path, self._data, self._only_read = given.ledger, given.data, given.table
        text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        lines = map(json.loads, text.splitlines())
        self._known = {self._key(line["job"], line.get("untrained")): line for line in lines}
        self._forks = multiprocessing.get_context("forkserver")
        self._forks.set_forkserver_preload(
            ["fedkrso_core.simulate", "transformers.models.bert.modeling_bert", "peft"]
        )

    def of(self, spec: dict[str, Any], untrained: bool = False) -> dict[str, Any] | None:
        """The line of a job, which is run if it has none; None if nothing is to be run."""
        key = self._key(spec, untrained)
        if key not in self._known and not self._only_read:
            with ProcessPoolExecutor(1, self._forks) as fork:
                found = fork.submit(carry_out, self.here(spec), untrained).result()
            line = {"job": spec, **({"untrained": True} if untrained else {}), **found}
            self._known[key] = line
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, sort_keys=True) + "\n")
        return self._known.get(key)

    def _key(self, spec: dict[str, Any], untrained: bool | None) -> str:
        return json.dumps([spec, bool(untrained)], sort_keys=True)

    def here(self, spec: dict[str, Any]) -> dict[str, Any]:
        """The job with this machine's files; the ledger has the names of the hub."""
        if self._data is None:
            return spec
        files = {p: str(self._data / f"{p}.jsonl.gz") for p in HUB if spec["data"][p]}
        return {**spec, "data": {**spec["data"], **files}}


def options_of(method: str) -> tuple[dict[str, Any], tuple[float, ...]]:
    """A method's options and the rates that are tried; of a new one nothing is known yet."""
    return TRIED.get(method, ({}, (1e-4, 1e-3, 1e-2)))


def best_rate(method: str, ledger: Ledger) -> float | None:
    """The rate of the smallest held-out loss; None if not all of the sweep is finished."""
    options, rates = options_of(method)
    losses = {}
    for lr in rates:
        line = ledger.of(job(method, {"name": method, **options}, lr, sweep=True))
        if line is None:
            return None
        if "metrics" in line and math.isfinite(line["metrics"]["loss"]):
            losses[lr] = float(line["metrics"]["loss"])
    return min(losses, key=lambda lr: losses[lr]) if losses else None


def row(name: str, ledger: Ledger) -> dict[str, str] | None:
    """A line of the table; bytes are means for one client in one round. None if not finished."""
    if name in (UNTRAINED, ALONE):
        method, options, lr = CLASSIFIER
    else:
        rate = best_rate(name, ledger)
        if rate is None:
            return None
        method, options, lr = name, options_of(name)[0], rate
    line = ledger.of(job(name, {"name": method, **options}, lr, sweep=False), name == UNTRAINED)
    if line is None or "metrics" not in line:
        return None
    measured = {m: f"{line['metrics'][m]:.4f}" for m in ("accuracy", "loss", "mcc")}
    if name == UNTRAINED:
        return {"method": name, **measured}
    parts = line["rounds"] * line["job"]["clients"]["per_round"]
    totals = line["totals"]
    return {
        "method": name,
        "lr": "" if name == ALONE else f"{lr:g}",
        **measured,
        "kB up": f"{totals['bytes_up'] / parts / 1e3:.1f}",
        "kB down": f"{totals['bytes_down'] / parts / 1e3:.1f}",
        "peak MiB": f"{totals['peak_memory_bytes'] / 2**20:.0f}",
        "CPU s": f"{line['cpu_seconds']:.0f}",
    }


def print_forecasts(names: Sequence[str], ledger: Ledger) -> None:
    """Bytes of one client in one round, and its live tensors at the peak, of the full jobs."""
    from fedkrso_core.estimate import estimate
    from fedkrso_core.examine import examine

    found = None
    print("| method | kB up | kB down | live MiB |", "|---|---|---|---|", sep="\n")
    for name in names:
        options, rates = options_of(name)
        spec = JobSpec.model_validate(
            ledger.here(job(name, {"name": name, **options}, rates[0], sweep=False))
        )
        found = found or examine(spec)  # the rows and the model are the same for all
        own = estimate(spec, own=found).forecasts[0]
        if own.traffic is None or own.memory is None:
            raise SystemExit(f"{name}: {own.refused}")
        up, down = own.traffic.bytes_up_per_client, own.traffic.bytes_down_per_client
        live = own.memory.peak / 2**20
        print(f"| {name} | {up / 1e3:.1f} | {down / 1e3:.1f} | {live:.0f} |", flush=True)


def main() -> None:
    """Runs what is not finished and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ledger", type=Path, default=HERE / "methods.jsonl")
    parser.add_argument("--data", type=Path)
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        default=[*TRIED, *(m for m in METHODS if m not in TRIED)],
    )
    parser.add_argument("--table", action="store_true", help="print what is finished, run nothing")
    parser.add_argument("--forecast", action="store_true", help="bytes and memory, no training")
    parser.add_argument("--csv", type=Path, help="write the table there too")
    given = parser.parse_args()
    ledger = Ledger(given)
    if given.forecast:
        print_forecasts(given.methods, ledger)
        return
    rows = []
    print(f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}", sep="\n")
    for name in (UNTRAINED, ALONE, *given.methods):
        found = row(name, ledger)
        rows += [found] if found else []
        shown = found or {"method": name, "lr": "not finished"}
        print(f"| {' | '.join(shown.get(column, '') for column in COLUMNS)} |", flush=True)
    if given.csv:
        with given.csv.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
            table.writeheader()
            table.writerows(rows)


if __name__ == "__main__":
    main()
