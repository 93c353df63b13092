"""How errors of a command reach the user: red lines on stderr and an exit code."""

from __future__ import annotations

import os
from typing import Any

import typer
from typer.core import TyperGroup

from cli import options
from cli.errors import explain


class Commands(TyperGroup):
    """A group of commands whose errors are explained; FEDKRSO_DEBUG=1 shows tracebacks."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            is_typers = type(error).__module__.startswith("typer")
            if is_typers or os.environ.get("FEDKRSO_DEBUG") == "1":
                raise
            lines, code = explain(error)
            options.print_errors(lines)
            raise typer.Exit(code) from None
