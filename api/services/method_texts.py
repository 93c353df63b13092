"""What the docstring of a method's file says: what it is, and what travels.

By convention its first paragraph begins with "Title: what it is.", and the paragraph that begins
with "Up" gives the formulas of its bytes.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any


def summary(method: Any) -> str:
    """What the method is, in a sentence; empty for a file that does not say so."""
    first, _, _ = _doc(method).partition("\n\n")
    what = " ".join(first.split()).partition(": ")[2]
    return what[:1].upper() + what[1:]


def traffic(method: Any) -> str:
    """What goes up and down, and how many bytes that is; empty for a file that does not say so."""
    paragraphs = (" ".join(part.split()) for part in _doc(method).split("\n\n"))
    return next((part for part in paragraphs if part.startswith(("Up:", "Up and down:"))), "")


def _doc(method: Any) -> str:
    # the Config is the one thing that each file defines itself
    return inspect.cleandoc(sys.modules[method.Config.__module__].__doc__ or "")
