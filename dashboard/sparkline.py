"""A curve as a line of text height: SVG for the middle of a page. Pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape

from dashboard.palette import BLUE

Curve = Sequence[tuple[float, float]]
WIDTH, HEIGHT, MARGIN = 110, 28, 3


def image(curve: Curve, name: str) -> str:
    """The curve as an HTML image with its words as the text alternative; `name` says of what.

    Not as SVG among the HTML, which Streamlit takes out.
    """
    data = b64encode(svg(curve).encode()).decode()
    text = escape(in_words(curve, name))
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{text}" title="{text}" {size}>'


def svg(curve: Curve) -> str:
    """The curve from its lowest to its highest value, its end marked."""
    places = _places(curve)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    end = f'<circle cx="{places[-1][0]:.1f}" cy="{places[-1][1]:.1f}" r="2.5"/>' if places else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f'<g stroke="{BLUE}" fill="{BLUE}"><polyline points="{line}" fill="none" '
        f'stroke-width="1.8"/>{end}</g></svg>'
    )


def in_words(curve: Curve, name: str) -> str:
    """The ends of the curve: accuracy 0.400 in round 1, 0.700 in round 6."""
    if not curve:
        return f"{name}: not measured yet"
    first, last = curve[0], curve[-1]
    if len(curve) == 1:
        return f"{name} {last[1]:.3f} in round {last[0]:.0f}"
    return f"{name} {first[1]:.3f} in round {first[0]:.0f}, {last[1]:.3f} in round {last[0]:.0f}"


def _places(curve: Curve) -> list[tuple[float, float]]:
    if not curve:
        return []
    rounds, values = [one[0] for one in curve], [one[1] for one in curve]
    wide, high = max(rounds) - min(rounds) or 1, max(values) - min(values)
    return [
        (
            MARGIN + (WIDTH - 2 * MARGIN) * (number - min(rounds)) / wide,
            # a flat curve is drawn in the middle
            HEIGHT / 2
            if not high
            else HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (value - min(values)) / high,
        )
        for number, value in curve
    ]
