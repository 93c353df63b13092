"""Where a board is shown: redrawn in place on a terminal, as lines elsewhere, or not at all."""

from __future__ import annotations

from itertools import takewhile
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live

from cli.render import Board, Json, board, round_line, rounds_table


class Display(Protocol):
    """Takes each new state of a job; a context manager around the whole of it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, job: Board) -> None:
        """Show the job as it is now."""

    def say(self, text: str) -> None:
        """Say something beside it, once."""


class LiveDisplay:
    """Redraws bars and table in place; the last state stays on the screen."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, transient=True, refresh_per_second=4)
        self._last: Board | None = None

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        if self._last is not None:
            self._console.print(board(self._last))

    def show(self, job: Board) -> None:
        """Redraw; only as many rounds as fit on the screen."""
        self._last = job
        rows = self._console.height - 6 - job.note.count("\n")
        self._live.update(board(job, rows=max(rows, 1)))

    def say(self, text: str) -> None:
        """A line above the bars."""
        self._console.print(text, markup=False, highlight=False)


class LineDisplay:
    """One line for each round that closed, and the table at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: Board | None = None
        self._printed = 0
        self._halted: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._last is not None and self._last.closed:
            self._console.print(rounds_table(self._last.closed, self._last.metric))

    def show(self, job: Board) -> None:
        """Print the rounds that closed since the last time and have their metrics."""
        for round_ in takewhile(_is_complete, job.closed[self._printed :]):
            self.say(round_line(round_, job.metric))
            self._printed += 1
        self._tell_halt(job)
        self._last = job

    def _tell_halt(self, job: Board) -> None:
        """Say once that nothing goes on and why, and once that it goes on."""
        state = job.state if job.state in ("queued", "paused") else None
        if state != self._halted:
            waits = job.note.partition(" (for ")[0]
            self.say(
                f"{job.name} {job.state}: waits for {waits}" if state else f"{job.name} goes on"
            )
        self._halted = state

    def say(self, text: str) -> None:
        """A line of its own."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _is_complete(round_: Json) -> bool:
    """Whether no metrics are to come: a round is measured while the next one trains."""
    return round_.get("evaluation") != "due"


class SilentDisplay:
    """Shows nothing; what has to be said goes to stderr."""

    def __init__(self, errors: Console) -> None:
        self._errors = errors

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, job: Board) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """To stderr."""
        self._errors.print(text, markup=False, highlight=False, soft_wrap=True)


def display_on(console: Console) -> Display:
    """The display that fits the console."""
    can_redraw = console.is_terminal and not console.is_dumb_terminal
    return LiveDisplay(console) if can_redraw else LineDisplay(console)
