"""How the rows of a job are divided among its clients: frame, chart and words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from dashboard import palette, words
from dashboard.charts import Figure

Json = Mapping[str, Any]
# what of a job decides about the division
PARTS = ("task", "data", "partition", "clients", "seed")
# as many as are told apart; the rest of the labels is one part
_MOST_LABELS = len(palette.COLOURS)
OTHERS = "other labels"
ROWS = "rows"
_COLUMNS = ["client", "label", "order", "rows"]


def relevant(job: Json) -> dict[str, Any]:
    """The parts of a job that its division depends on."""
    return {name: job.get(name) for name in PARTS}


def frame(answer: Json) -> pd.DataFrame:
    """A row for each client and label: client, label, order, rows.

    The largest labels have a row of their own, the others share one.
    """
    names = list(answer["labels"]) or [ROWS]
    sums = [sum(counts[at] for counts in _counts(answer)) for at in range(len(names))]
    largest = sorted(range(len(names)), key=lambda at: -sums[at])
    own = sorted(largest if len(names) <= _MOST_LABELS else largest[: _MOST_LABELS - 1])
    rows = []
    for share, counts in zip(answer["clients"], _counts(answer), strict=True):
        told = [(names[at], counts[at]) for at in own]
        if len(own) < len(names):
            told.append((OTHERS, sum(counts) - sum(count for _, count in told)))
        rows += [
            {"client": share["client"], "label": label, "order": order, "rows": count}
            for order, (label, count) in enumerate(told)
        ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _counts(answer: Json) -> list[list[int]]:
    return [list(share["labels"]) or [share["num_examples"]] for share in answer["clients"]]


def figure(answer: Json) -> Figure:
    """A bar for each client, of its rows by label."""
    rows = frame(answer)
    labels = list(dict.fromkeys(rows["label"]))
    scale = alt.Scale(domain=labels, range=palette.colours(len(labels)))
    step = 18 if len(answer["clients"]) <= 30 else 8
    chart = alt.Chart(rows, height=alt.Step(step)).mark_bar()
    chart = chart.encode(
        x=alt.X("rows:Q", title="Rows", stack="zero"),
        y=alt.Y("client:O", title="Client"),
        color=alt.Color("label:N", title=None, scale=scale, legend=alt.Legend(columns=2)),
        order=alt.Order("order:Q"),
        tooltip=[
            alt.Tooltip("client:O", title="Client"),
            alt.Tooltip("label:N", title="Label"),
            alt.Tooltip("rows:Q", title="Rows"),
        ],
    )
    chart = chart.configure_legend(orient="top")
    return Figure("division", "Rows of each client by label", chart, in_words(answer))


def in_words(answer: Json) -> str:
    """The smallest and the largest share, and how uneven the labels are."""
    shares = answer["clients"]
    if not shares:
        return "No rows are divided: all clients bring their own."
    sizes = [share["num_examples"] for share in shares]
    said = [
        f"{answer['num_examples']} rows for {words.count(answer['num_clients'], 'client')}, "
        f"{min(sizes)} to {max(sizes)} each",
        f"{answer['num_validation']} rows to evaluate on",
    ]
    if answer["labels"]:
        lacking = sum(0 in share["labels"] for share in shares)
        said.append(f"{lacking} of {len(shares)} clients lack at least one of the labels")
    if len(shares) < answer["num_clients"]:
        said.append(f"the first {len(shares)} are shown")
    return "; ".join(said) + "."
