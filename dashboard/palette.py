"""Colours and marks of charts: told apart with any colour vision, on white and on black. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

# Okabe and Ito, without yellow and black, which vanish on white and on black
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
ORANGE, PURPLE, SKY = "#E69F00", "#CC79A7", "#56B4E9"
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
# the seventh has the colour of the first and another dash
DASHES = ([1, 0], [6, 3], [2, 2], [10, 3, 2, 3])


def colours(count: int) -> list[str]:
    """A colour for each of some lines, from the start again after the last."""
    return list(islice(cycle(COLOURS), count))


def dashes(count: int) -> list[Sequence[int]]:
    """A dash for each line: another one whenever the colours start again."""
    return [DASHES[at // len(COLOURS) % len(DASHES)] for at in range(count)]
