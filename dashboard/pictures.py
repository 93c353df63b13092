"""A chart as a picture to keep: SVG or PNG, on white, without a browser and without the network."""

from __future__ import annotations

import altair as alt

WIDTH, HEIGHT = 720, 420
_PNG_SCALE = 2.0


def svg(chart: alt.Chart | alt.LayerChart, title: str) -> bytes:
    """The chart as an SVG file."""
    import vl_convert  # starts a JavaScript engine: only who wants a picture waits for it

    text: str = vl_convert.vegalite_to_svg(_specification(chart, title), allowed_base_urls=[])
    return text.encode()


def png(chart: alt.Chart | alt.LayerChart, title: str) -> bytes:
    """The chart as a PNG file, two pixels to a point."""
    import vl_convert

    specification = _specification(chart, title)
    picture: bytes = vl_convert.vegalite_to_png(
        specification, scale=_PNG_SCALE, allowed_base_urls=[]
    )
    return picture


def _specification(chart: alt.Chart | alt.LayerChart, title: str) -> dict[str, object]:
    height = chart.height if isinstance(chart.height, alt.Step) else HEIGHT
    sized = chart.properties(width=WIDTH, height=height, title=title, background="white")
    specification: dict[str, object] = sized.to_dict()
    return specification
