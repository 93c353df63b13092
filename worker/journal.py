"""The states that a client was sent: files by job, downloaded where they lack."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedkrso_core.global_model import StateRef, marks
from fedkrso_core.payload import Payload, decode
from worker.api import Api

KEEP_S = 7 * 24 * 3600
_KEEP_CHECKPOINTS = 2


class Journal:
    """States lie under their digest, a checkpoint under the states that it stands for."""

    def __init__(self, api: Api, folder: Path) -> None:
        self._api, self.folder = api, folder

    def chain(self, assignment: dict[str, Any], useless: Callable[[], bool]) -> list[StateRef]:
        """The states of an assignment; downloads those that the client lacks, or a checkpoint.

        Downloaded is what the client was not sent before, even if it lies here for another client
        of the job, and what does not lie here.
        """
        folder = self.folder / assignment["job"]
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)  # worked on now: see forget_old
        states, offered = assignment["states"], assignment.get("checkpoint")
        named = marks("", (state["digest"] for state in states))
        checkpoints = [folder / f"checkpoint-{mark}" for mark in named]
        sent = -1 if offered is None else _index(states, offered["round"])
        if offered is not None:
            self._api.download(assignment, offered["digest"], checkpoints[sent], useless)
            _forget_old_checkpoints(folder)
        here = max((i for i, path in enumerate(checkpoints) if path.exists()), default=-1)
        for i, state in enumerate(states):
            path = folder / state["digest"]
            if (state["lacking"] and i > sent) or (i > here and not path.exists()):
                self._api.download(assignment, state["digest"], path, useless)
        return [
            StateRef(
                state["digest"],
                _decoded(folder / state["digest"]),
                _decoded(checkpoints[i]) if i == here else None,
            )
            for i, state in enumerate(states)
        ]

    def forget_old(self) -> None:
        """Removes the states of jobs that nobody here has worked on for a week."""
        for job in self.folder.glob("*"):
            if time.time() - job.stat().st_mtime > KEEP_S:
                shutil.rmtree(job, ignore_errors=True)


def _index(states: list[dict[str, Any]], number: int) -> int:
    return next(i for i, state in enumerate(states) if state["round"] == number)


def _decoded(path: Path) -> Callable[[], Payload]:
    return lambda: decode(path.read_bytes())


def _forget_old_checkpoints(folder: Path) -> None:
    """Leaves the newest: they are as large as a model, and later ones do as well."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: path.stat().st_mtime)
    for path in found[:-_KEEP_CHECKPOINTS]:
        path.unlink(missing_ok=True)
