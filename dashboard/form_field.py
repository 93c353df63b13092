"""One input of a form: where its value goes, what it is called and what it may hold. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

Kind = Literal[
    "text", "integer", "number", "boolean", "choice", "choices", "suggest", "list", "word", "json"
]

# what a browser holds exactly; larger bounds are left to the server
MAX_INTEGER = 2**53 - 1
# where the name of a field alone says too little
_LABELS = {
    "budget.bytes_up": "Upload of all clients",
    "budget.memory": "Memory of a client",
    "budget.seconds": "Seconds from the start",
    "clients.attempts": "Tries for each client",
    "clients.count": "Clients",
    "clients.external": "External clients (JSON)",
    "clients.min_clients": "Clients that will do at the deadline",
    "clients.per_round": "Clients in a round",
    "clients.select_extra": "Extra clients in a round",
    "clients.simulated": "Simulated clients",
    "correction.kind": "Correction of the clients' steps",
    "correction.mu": "Strength of fedprox",
    "data.label": "Label column",
    "data.max_rows": "Most rows",
    "data.prompt": "Prompt column or template",
    "data.text": "Text column",
    "data.text_pair": "Second text column",
    "data.train": "Training data",
    "data.validation": "Validation data",
    "evaluate.answer_tokens": "Most tokens of an answer",
    "evaluate.answers": "Rows that are answered",
    "evaluate.batch_size": "Evaluation batch size",
    "evaluate.every": "Rounds between evaluations",
    "local.head_lr": "Learning rate of the classifier",
    "local.lr": "Learning rate",
    "local.max_length": "Tokens of a text",
    "local.memory": "Memory options",
    "local.micro_batch_size": "Rows computed at a time",
    "local.schedule": "Learning rate schedule",
    "method.name": "Method",
    "partition.kind": "Division of the rows",
    "round_timeout_s": "Seconds to a round's deadline",
    "rounds.buffer": "Updates that close a round",
    "rounds.count": "Rounds",
    "rounds.max_staleness": "Most rounds late",
    "rounds.mode": "Mode of the rounds",
    "rounds.staleness": "Weight of late updates",
    "rounds.staleness_exponent": "Exponent of that weight",
    "server.beta1": "Momentum of the server",
    "server.beta2": "Memory of the server for squares",
    "server.lr": "Size of the server's step",
    "server.optimizer": "Optimizer of the server",
    "server.tau": "Tau of the server",
    "weighting": "Weight of a client",
}


@dataclass(frozen=True)
class Field:
    """One input. `path` is where its value goes and how the server names it.

    A "word" is a text that may be a number; `details` say what each of the options does.
    """

    path: str
    key: str
    kind: Kind
    default: Any = None
    description: str = ""
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    below: float | None = None
    options: tuple[Any, ...] = ()
    optional: bool = False
    details: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What the input is called on the page."""
        name = self.path.rpartition(".")[2].replace("_", " ")
        return _LABELS.get(self.path, name[:1].upper() + name[1:])

    @property
    def allowed(self) -> str:
        """The bounds in words: 'at least 1, at most 100'; empty without bounds."""
        bounds = {
            "at least": self.minimum,
            "more than": self.above,
            "at most": self.maximum,
            "less than": self.below,
        }
        return ", ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)


def complaints(field: Field, value: object) -> list[str]:
    """What is wrong with a number before the server is asked: outside of the bounds."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return []
    inside = (
        (field.minimum is None or value >= field.minimum)
        and (field.above is None or value > field.above)
        and (field.maximum is None or value <= field.maximum)
        and (field.below is None or value < field.below)
    )
    return [] if inside else [f"{value:g}: allowed is {field.allowed}"]


def apart(found: Iterable[Field], variant: str) -> list[Field]:
    """The inputs of one variant, under keys of their own.

    Two variants may have a field of the same name with another default.
    """
    return [replace(field, key=f"{field.key}-{variant}") for field in found]
