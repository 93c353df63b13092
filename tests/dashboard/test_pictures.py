"""Charts as files."""

from __future__ import annotations

import altair as alt
import pandas as pd
import pytest

from dashboard import pictures


@pytest.fixture
def chart() -> alt.Chart:
    frame = pd.DataFrame({"round": [1, 2], "value": [0.5, 0.75]})
    return alt.Chart(frame).mark_line().encode(x="round:Q", y="value:Q")


def test_an_svg_has_the_title_and_the_line(chart: alt.Chart) -> None:
    text = pictures.svg(chart, "Accuracy & rounds").decode()
    assert text.startswith("<svg")
    assert "Accuracy &amp; rounds" in text
    assert "mark-line" in text


def test_a_png_is_one_and_two_pixels_to_a_point(chart: alt.Chart) -> None:
    content = pictures.png(chart, "Accuracy")
    assert content.startswith(b"\x89PNG")
    width = int.from_bytes(content[16:20], "big")
    assert width > 2 * pictures.WIDTH


def test_a_chart_of_something_elsewhere_is_not_fetched() -> None:
    far = alt.Chart("http://127.0.0.1:9/rows.json").mark_point().encode(x="a:Q")
    with pytest.raises(ValueError, match=r"(?i)allowed|access"):
        pictures.svg(far, "Far")
