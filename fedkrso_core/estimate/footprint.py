"""Peak memory of a client, split into what it is made of.

A rehearsed round is short and has one client. What a full one holds more is added from the traffic:
of the last state, which a client holds while it trains (weights), and of its upload, such as the
accumulators of further subspaces (optimizer).

Of a real process on CPU the resident peak is reported: the tensors, and Python with its libraries.
"""

from __future__ import annotations

from collections.abc import Iterable

from fedkrso_core.estimate.rehearsal import Rehearsal
from fedkrso_core.estimate.traffic import Visit
from fedkrso_core.forecast import Footprint


def footprint_of(rehearsal: Rehearsal, visits: Iterable[Visit], resident_bytes: int) -> Footprint:
    """The largest footprint that any of the visits has."""
    short = sum(tensor.nbytes for tensor in rehearsal.update.upload.tensors.values())
    more = [
        (max(0, visit.held_down - rehearsal.received_bytes), max(0, visit.held_up - short))
        for visit in visits
    ]
    received, retained = max(more, key=sum)
    parts = rehearsal.parts
    peak = rehearsal.peak_bytes + received + retained
    return Footprint(
        weights=parts["weights"] + received,
        gradients=parts["gradients"],
        optimizer=parts["optimizer"] + retained,
        activations=parts["activations"],
        peak=peak,
        process=peak + resident_bytes,
    )
