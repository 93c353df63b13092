"""What a sweep's YAML file asks for, and the jobs that it becomes.

A sweep is tasks x splits x methods x seeds. Learning rates are chosen on a part of train: for each
task, split and method every rate of the method's grid is tried with a seed of its own, in jobs
whose validation rows are a held-out tenth of train; the smallest loss wins. The final jobs train on
all of train with that rate, once for each seed, and are measured on rows that chose nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

Json = dict[str, Any]
Stage = Literal["tune", "final"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Task(_Strict):
    """A data set: its names on the hub, its files below --data, its columns, what is reported."""

    hub: dict[Literal["train", "validation"], str]
    files: dict[Literal["train", "validation"], str]
    columns: dict[str, str]
    metric: Literal["accuracy", "mcc"] = "accuracy"
    max_length: int | None = None


class Split(_Strict):
    """How rows are divided; a skewed one may have more seeds, and only some of the tasks."""

    partition: Json
    seeds: list[int] | None = None
    tasks: list[str] | None = None


class Side(_Strict):
    """One row of the tables: a method with its options, and the rates that are tried."""

    title: str
    method: Json
    lr: list[float] = Field(min_length=1)
    wire: Json = {}
    local: Json = {}
    server: Json = {}


class Tune(_Strict):
    """The jobs that choose a rate."""

    seed: int = 1000
    rounds: int | None = None
    max_rows: int | None = None


class Sweep(_Strict):
    """A whole file."""

    name: str
    tasks: dict[str, Task]
    splits: dict[str, Split]
    methods: dict[str, Side]
    seeds: list[int]
    tune: Tune = Tune()
    job: Json  # what all jobs share


def read(path: Path) -> Sweep:
    """The sweep of a file; a ValidationError names what is wrong in it."""
    return Sweep.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Run:
    """One job of a sweep. `job` names the data by the hub: so it is the same on every machine."""

    stage: Stage
    task: str
    split: str
    method: str
    lr: float
    seed: int
    job: Json

    @property
    def key(self) -> str:
        """Digest of what the job asks for; its name does not matter."""
        asked = {name: value for name, value in self.job.items() if name != "name"}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]

    def local(self, sweep: Sweep, folder: Path | None) -> Json:
        """The job as it is submitted: under its own name, with data of a folder if there is one."""
        job = {**self.job, "name": f"{self.job['name']} {self.key}"}
        if folder is None:
            return job
        files = sweep.tasks[self.task].files
        sources = {part: str(folder / files[part]) for part in files if self.job["data"].get(part)}
        return {**job, "data": {**self.job["data"], **sources}}


def cells(sweep: Sweep) -> Iterator[tuple[str, str, str]]:
    """(task, split, method) of every line of the tables."""
    for task in sweep.tasks:
        for split, how in sweep.splits.items():
            if how.tasks is None or task in how.tasks:
                for method in sweep.methods:
                    yield task, split, method


def tuning(sweep: Sweep, task: str, split: str, method: str) -> list[Run]:
    """The jobs that choose the rate of a cell; none if there is nothing to choose."""
    rates = sweep.methods[method].lr
    if len(rates) == 1:
        return []
    return [_run(sweep, "tune", task, split, method, lr, sweep.tune.seed) for lr in rates]


def final(sweep: Sweep, task: str, split: str, method: str, lr: float) -> list[Run]:
    """The jobs that are reported."""
    seeds = sweep.splits[split].seeds or sweep.seeds
    return [_run(sweep, "final", task, split, method, lr, seed) for seed in seeds]


def _run(
    sweep: Sweep, stage: Stage, task: str, split: str, method: str, lr: float, seed: int
) -> Run:
    side, about, shared = sweep.methods[method], sweep.tasks[task], dict(sweep.job)
    data: Json = {**about.hub, **about.columns}
    local = {**shared.pop("local", {}), **side.local, "lr": lr}
    if about.max_length is not None:
        local["max_length"] = about.max_length
    if stage == "tune":
        data |= {"validation": None, "max_rows": sweep.tune.max_rows}
        shared["rounds"] = sweep.tune.rounds or shared["rounds"]
        shared["evaluate"] = {**shared.get("evaluate", {}), "every": shared["rounds"]}
    options = {name: value for name in ("wire", "server") if (value := getattr(side, name))}
    job = {
        **shared,
        "name": f"{sweep.name} {stage} {task} {split} {method} {lr:g} {seed}"[:80],
        "data": data,
        "partition": sweep.splits[split].partition,
        "local": local,
        "method": side.method,
        **options,
        "seed": seed,
    }
    return Run(stage, task, split, method, lr, seed, job)
