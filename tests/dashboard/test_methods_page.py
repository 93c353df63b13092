"""The page of methods and its tables."""

from __future__ import annotations

from benchmarks import measured
from dashboard import method_views
from tests.dashboard.canned import METHODS
from tests.dashboard.conftest import OpenPage
from tests.dashboard.fake_api import FakeApi

PAGE = "screens/methods.py"


def test_a_method_says_what_it_is_what_travels_and_where_its_paper_is(open_page: OpenPage) -> None:
    app = open_page(PAGE)
    assert len(app.expander) == len(METHODS)
    said = " ".join(item.value for item in app.markdown).replace("\\", "")
    assert "Up: 4 r sum(d_out) bytes" in said
    assert "[arXiv 2602.03019](https://arxiv.org/abs/2602.03019)" in said


def test_options_have_defaults_and_limits(open_page: OpenPage) -> None:
    table = method_views.options_table(METHODS[0]).set_index("Option")
    assert list(table.loc["rank"]) == ["4", "at least 1", "Rank r"]
    assert table.loc["shared", "Default"] == "false"
    assert table.loc["shared", "Allowed"] == "true, false"
    shown = open_page(PAGE).table[0].value
    assert list(shown.index) == list(table.index)


def test_methods_are_found_by_a_word(open_page: OpenPage) -> None:
    app = open_page(PAGE)
    app.text_input(key="methods-search").input("1602.05629").run()
    assert ["FedAvg" in item.label for item in app.expander] == [True]
    app.text_input(key="methods-search").input("nothing like it").run()
    assert app.info[0].value == "No method matches the search."


def test_a_paper_that_is_not_on_arxiv_is_no_link() -> None:
    assert method_views.paper_link("ICML 2025 [x](http://x)").startswith("ICML 2025 \\[x")


def test_what_was_measured_is_the_table_of_the_docs() -> None:
    documented = measured.table(measured.DOCUMENTED.read_text())
    shown = [line.split(",") for line in method_views.MEASURED.read_text().splitlines()]
    assert shown == documented, "run python benchmarks/measured.py"
    assert list(method_views.measured().columns) == documented[0]


def test_the_table_of_every_method_is_taken_as_soon_as_it_is_there() -> None:
    four = "\n## SST-2, four methods\n\n| method | lr | loss |\n|---|---|---|\n| a | 1 | 2 |\n"
    assert measured.table(four)[1:] == [["a", "1", "2"]]
    every = "\n## SST-2, every method\n\n| method | kB |\n|---|---|\n| forecast | 1 |\n\n"
    assert measured.table(every + four)[1:] == [["a", "1", "2"]]
    every += "| method | lr | loss |\n|---|---|---|\n| b | 3 | 4 |\n| c | not finished | |\n"
    assert measured.table(every + four)[1:] == [["b", "3", "4"]]


def test_a_lost_server_is_told(fake_api: FakeApi, open_page: OpenPage) -> None:
    fake_api.down = True
    app = open_page(PAGE)
    assert app.error[0].value == "The database is locked"
