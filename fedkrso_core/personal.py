"""Personal models: each client measures its own, and a round's metrics are put together of those.

A method is personal if parts of the model stay with the client (`Method.personalize`). There is no
global model to measure then. A client measures the model that its local steps left it with, before
anything is averaged, and reports it among the metrics of its update as "own_accuracy" and so on.
The metrics of a round are the means over its updates, weighted by examples,

    m = sum_c (n_c / n) m_c

and beside them "worst_client", the client whose headline of the task is worst (without one: whose
loss is highest), with its "worst_accuracy" and so on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fedkrso_core.budget import is_limited
from fedkrso_core.rounds_spec import evaluates
from fedkrso_core.spec import JobSpec
from fedkrso_core.tasks import TASKS

OWN = "own_"


@dataclass(frozen=True)
class Report:
    """The metrics of a client's update."""

    client: int
    num_examples: int
    metrics: Mapping[str, float]

    @property
    def own(self) -> dict[str, float]:
        """What the client measured of its own model."""
        own = {n: v for n, v in self.metrics.items() if n.startswith(OWN)}
        return {name.removeprefix(OWN): value for name, value in own.items()}


def measures(spec: JobSpec, began: int) -> bool:
    """Whether a client that begins with this round measures its own model.

    It does in the rounds that are evaluated, and in all where it cannot know which will be: its
    update may be counted later, or a budget may make any round the last.
    """
    evaluated = evaluates(began, spec.evaluate.every, spec.rounds.count)
    return evaluated or spec.rounds.buffered or is_limited(spec.budget)


def round_metrics(reports: Iterable[Report]) -> dict[str, float]:
    """Weighted means and the worst client; empty if no client measured its model."""
    measured = [report for report in reports if report.own]
    if not measured:
        return {}
    total = sum(report.num_examples for report in measured)
    names = [n for n in measured[0].own if all(n in report.own for report in measured)]
    means = {
        name: sum(report.own[name] * (report.num_examples / total) for report in measured)
        for name in names
    }
    return means | _worst(measured, names)


def _worst(measured: list[Report], names: list[str]) -> dict[str, float]:
    """By the headline of the task that has been measured, else by the loss."""
    headlines = {task.metric: 1 if task.higher_is_better else -1 for task in TASKS.values()}
    for name, sign in {**headlines, "loss": -1}.items():
        if name in names:
            worst = min(measured, key=lambda report: (sign * report.own[name], report.client))
            return {"worst_client": worst.client, f"worst_{name}": worst.own[name]}
    return {}
