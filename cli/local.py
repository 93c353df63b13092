"""`fedkrso run`: a job in this process, shown like one on a server."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.display import Display
from cli.errors import naming
from cli.render import Board

if TYPE_CHECKING:
    from fedkrso_core.spec import JobSpec

REDRAW_S = 0.2


@dataclass
class Tracker:
    """Turns the run's callbacks into boards."""

    display: Display
    board: Board
    steps_each: int
    _steps: dict[int, int] = field(default_factory=dict)
    _shown_at: float = 0.0

    def on_step(self, round_: int, client: int, step: int) -> None:
        """A client did an optimizer step."""
        if round_ != self.board.open_round:
            self._steps.clear()
        self._steps[client] = step
        self.board = replace(
            self.board,
            open_round=round_,
            clients_done=sum(done >= self.steps_each for done in self._steps.values()),
            steps_done=sum(self._steps.values()),
        )
        if time.monotonic() - self._shown_at >= REDRAW_S:
            self._show()

    def on_round(self, round_: dict[str, Any]) -> None:
        """A round closed."""
        self.board = replace(self.board, closed=[*self.board.closed, round_], open_round=None)
        self._show()

    def on_end(self) -> None:
        """The job is done."""
        self.board = replace(self.board, state="done", open_round=None)
        self._show()

    def _show(self) -> None:
        self._shown_at = time.monotonic()
        self.display.show(self.board)


def run_here(path: Path, out: Path, display: Display) -> dict[str, Any]:
    """Run the job file at `path`, results to `out`; the summary of the run."""
    from fedkrso_core import spec

    with naming(path):
        job = spec.read(path)
        # torch is loaded only for a job file that can be read
        from fedkrso_core import simulate
        from fedkrso_core.memory import settle

        with display:
            if unused := without_service(job):
                display.say(unused)
            tracker = _tracker(job, display)

            def on_round(record: dict[str, Any]) -> None:
                tracker.on_round(record)
                if record["round"] == 1:  # by now all is loaded that trainings need
                    settle()

            summary: dict[str, Any] = simulate.run(job, out, on_round, tracker.on_step)
            tracker.on_end()
    return summary


def without_service(job: JobSpec) -> str | None:
    """What of the job file changes nothing here, in a line; None if all of it counts."""
    asked = {
        "round_timeout_s": job.round_timeout_s is not None,
        "clients.min_clients": job.clients.min_clients is not None,
        "clients.attempts": job.clients.attempts is not None,
        "clients.select_extra": job.clients.select_extra > 0,
        "priority": job.priority != 0,
    }
    given = [field for field, is_given in asked.items() if is_given]
    if not given:
        return None
    return (
        f"in one process every chosen client answers, so these change nothing: {', '.join(given)}"
    )


def _tracker(job: JobSpec, display: Display) -> Tracker:
    from fedkrso_core.tasks import TASKS

    clients, steps = job.rounds.closes_at(job.clients.per_round), job.local.steps
    board = Board(
        job.name,
        "running",
        job.rounds.count,
        clients=clients,
        steps=clients * steps,
        metric=TASKS[job.task].metric,
    )
    display.show(board)
    return Tracker(display, board, steps)
