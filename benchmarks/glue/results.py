"""Tables and figures of sweeps, from the runs that are finished: writes docs/results.md.

    python benchmarks/glue/results.py benchmarks/glue/minilm.yaml [CONFIG ...]
    python benchmarks/glue/results.py CONFIG --ledger FILE --out FOLDER

Means over the seeds with the standard error, of the last round and not the best. Differences are
paired: runs of one seed share partition, clients, batches and the start of the classifier. The gap
closed is (x - LoRA) / (full - LoRA), of the means.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from statistics import mean, stdev

import altair
from ledger import Ledger, best_rate, finals
from plan import Json, Sweep, cells, read

HERE = Path(__file__).parent
DOCS = HERE.parent.parent / "docs"
BELOW, ABOVE = "lora-r4", "full"  # the ends of the gap
Table = list[str]


def of(line: Json, metric: str) -> float:
    """Points: 100 times what the task reports."""
    return 100 * float(line["metrics"][metric])


def spread(values: list[float]) -> str:
    """Mean and standard error."""
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{mean(values):.2f}" + ("" if math.isnan(error) else f" ± {error:.2f}")


def table(sweep: Sweep, ledger: Ledger, task: str, split: str) -> Table:
    """A line for each method that has finished runs."""
    metric = sweep.tasks[task].metric
    found = {name: finals(sweep, ledger, (task, split, name)) for name in sweep.methods}
    lines = [
        f"| method | lr | seeds | {metric} | loss | minus {BELOW}, by seed | gap closed "
        "| MB up | MB down | peak MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, runs in found.items():
        if not runs:
            continue
        points = [of(run, metric) for run in runs]
        lines.append(
            f"| {sweep.methods[name].title} | {best_rate(sweep, ledger, (task, split, name)):g} "
            f"| {len(runs)} | {spread(points)} "
            f"| {spread([run['metrics']['loss'] for run in runs])} "
            f"| {_paired(runs, found.get(BELOW, []), metric)} | {_closed(runs, found, metric)} "
            f"| {mean(run['bytes_up'] for run in runs) / 1e6:.3f} "
            f"| {mean(run['bytes_down'] for run in runs) / 1e6:.3f} "
            f"| {max(run['peak_memory_bytes'] for run in runs) / 2**20:.0f} |"
        )
    return lines if len(lines) > 2 else []


def _paired(runs: list[Json], below: list[Json], metric: str) -> str:
    beside = {run["seed"]: of(run, metric) for run in below}
    both = [of(run, metric) - beside[run["seed"]] for run in runs if run["seed"] in beside]
    return ", ".join(f"{difference:+.2f}" for difference in both)


def _closed(runs: list[Json], found: dict[str, list[Json]], metric: str) -> str:
    ends = [found.get(name, []) for name in (BELOW, ABOVE)]
    seeds = set.intersection(*({run["seed"] for run in side} for side in (runs, *ends)))
    if not seeds:
        return ""
    own, low, high = (
        mean(of(run, metric) for run in side if run["seed"] in seeds) for side in (runs, *ends)
    )
    return f"{100 * (own - low) / (high - low):.0f} %" if high > low else "no gap"


def curves(sweep: Sweep, ledger: Ledger, task: str, split: str) -> altair.Chart | None:
    """The metric against all bytes that a job moved, means over the seeds; None without runs."""
    metric, rows = sweep.tasks[task].metric, []
    for name, side in sweep.methods.items():
        runs = finals(sweep, ledger, (task, split, name))
        for points in zip(*(run["rounds"] for run in runs), strict=True):
            if metric in points[0][3]:
                number = points[0][0]
                moved = mean(_moved(run["rounds"], number) for run in runs)
                value = 100 * mean(point[3][metric] for point in points)
                rows.append({"method": side.title, "MB": moved / 1e6, metric: value})
    if not rows:
        return None
    chart = altair.Chart(altair.Data(values=rows), title=f"{task}, {split}")
    return chart.mark_line(point=True).encode(
        altair.X("MB:Q", scale=altair.Scale(type="log"), title="MB up and down, whole job"),
        altair.Y(f"{metric}:Q", scale=altair.Scale(zero=False), title=f"{metric}, %"),
        altair.Color("method:N", legend=altair.Legend(orient="bottom", columns=1, labelLimit=600)),
    )


def _moved(rounds: list[list[Json]], until: int) -> float:
    return float(sum(up + down for number, up, down, _ in rounds if number <= until))


def section(sweep: Sweep, ledger: Ledger, config: Path, images: Path) -> Table:
    """The part of the page about one sweep."""
    job = sweep.job
    local = job["local"]
    lines = [
        f"## {sweep.name}",
        "",
        "```",
        f"python benchmarks/glue/sweep.py benchmarks/glue/{config.name}                # data: hub",
        f"python benchmarks/glue/sweep.py benchmarks/glue/{config.name} --data FOLDER  # files",
        "```",
        "",
        f"{job['model']}; {job['clients']['count']} clients, {job['clients']['per_round']} in each "
        f"of {job['rounds']} rounds; {local['steps']} steps of {local['batch_size']} rows, "
        f"{local['max_length']} tokens. Rates: of each grid in the config the one with the "
        f"smallest loss on a held-out tenth of train, in jobs of {sweep.tune.rounds} rounds.",
        "",
    ]
    for task, split in dict.fromkeys((task, split) for task, split, _ in cells(sweep)):
        if not (rows := table(sweep, ledger, task, split)):
            continue
        chart, name = curves(sweep, ledger, task, split), f"{sweep.name}-{task}-{split}.svg"
        lines += [f"### {task}, {split}", "", *rows, ""]
        if chart is not None:
            chart.save(images / name)
            lines += [f"![{task}, {split}: metric against bytes](images/results/{name})", ""]
    return lines


def main() -> None:
    """Writes the page and its figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("configs", type=Path, nargs="+")
    parser.add_argument("--ledger", type=Path, default=HERE / "runs.jsonl")
    parser.add_argument("--out", type=Path, default=DOCS)
    given = parser.parse_args()
    images = given.out / "images" / "results"
    images.mkdir(parents=True, exist_ok=True)
    ledger, lines = Ledger(given.ledger), ["# Results", "", *__doc__.split("\n\n")[2:], ""]
    for config in given.configs:
        lines += section(read(config), ledger, config, images)
    (given.out / "results.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
