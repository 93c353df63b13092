"""What a job may be about: its task, and the metric that says how well it goes; free of torch.

classification   one of the labels for a text or a pair of texts
regression       one number for a text or a pair of texts
causal-lm        the next token of a text, or of an answer after its prompt
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

TaskName = Literal["classification", "regression", "causal-lm"]
FORMER = "text-classification"  # what classification was called when there was no other task


@dataclass(frozen=True)
class Task:
    """A task; `metric` is its headline among `metrics`, all of which an evaluation may give.

    `pipeline` is the name that the Hugging Face hub has for it.
    """

    title: str
    metric: str
    higher_is_better: bool
    metrics: tuple[str, ...]
    pipeline: str


TASKS: dict[TaskName, Task] = {
    "classification": Task(
        "one of the labels",
        "accuracy",
        True,
        ("accuracy", "loss", "f1", "mcc"),
        "text-classification",
    ),
    "regression": Task(
        "one number",
        "pearson",
        True,
        ("pearson", "loss", "spearman", "mse"),
        "text-classification",
    ),
    "causal-lm": Task(
        "the next token",
        "perplexity",
        False,
        ("perplexity", "loss", "exact_match"),
        "text-generation",
    ),
}


def _current(name: Any) -> Any:
    return "classification" if name == FORMER else name


TaskField = Annotated[TaskName, BeforeValidator(_current)]


def task_of(stored: Mapping[str, Any]) -> tuple[TaskName, Task]:
    """The task of a stored job file, which may be older than the tasks."""
    name: TaskName = _current(stored.get("task", FORMER))
    return name, TASKS[name]


def headline(task: Task, metrics: Mapping[str, float]) -> str:
    """'accuracy 0.612', of personal models with the worst client; empty if nothing was measured."""
    value, worst = metrics.get(task.metric), metrics.get(f"worst_{task.metric}")
    if value is None:
        return ""
    text = f"{task.metric} {value:.3f}"
    if worst is None:
        return text
    return f"{text}, client {metrics['worst_client']:.0f} worst with {worst:.3f}"
