"""The built-in data set: real, balanced enough to learn from, and the same on every call."""

import subprocess
import sys
from itertools import groupby

import pytest

from fedkrso_core.data import BUILTIN, load, pydocs
from fedkrso_core.data.examples import Examples
from fedkrso_core.data_spec import DataSpec

AREAS = (
    "concurrency",
    "files-archives",
    "gui",
    "language-tools",
    "mail-web",
    "numbers-dates",
    "testing-debugging",
    "text-formats",
)


@pytest.fixture(scope="module")
def everything() -> Examples:
    return load(DataSpec(), seed=0, group_column="group")[0]


def test_the_built_in_data_set_is_listed_with_a_title() -> None:
    assert "standard library" in BUILTIN["pydocs"]


def test_it_has_about_five_thousand_rows_in_eight_areas(everything: Examples) -> None:
    assert 3000 < len(everything) < 8000
    assert everything.label_names == AREAS


def test_no_area_is_rare_and_none_dominates(everything: Examples) -> None:
    shares = [count / len(everything) for count in everything.label_histogram()]
    assert min(shares) > 0.03
    assert max(shares) < 0.35


def test_no_text_stands_twice(everything: Examples) -> None:
    assert len({text.lower() for text in everything.texts}) == len(everything)


def test_white_space_is_collapsed(everything: Examples) -> None:
    assert all(text == " ".join(text.split()) for text in everything.texts)


def test_a_row_is_labelled_by_the_module_it_stands_in() -> None:
    areas = {row.group: row.label for row in pydocs.rows()}
    assert areas["asyncio"] == "concurrency"
    assert areas["email"] == "mail-web"
    assert areas["unittest"] == "testing-debugging"


def test_no_module_belongs_to_two_areas() -> None:
    modules = " ".join(pydocs.AREAS.values()).split()
    assert len(modules) == len(set(modules))


def test_rows_are_ordered_by_module() -> None:
    modules = [module for module, _ in groupby(row.group for row in pydocs.rows())]
    assert len(modules) == len(set(modules))
    assert modules.index("asyncio") < modules.index("email") < modules.index("zipfile")


@pytest.mark.parametrize(
    "text",
    [
        "Return it.",
        "copy(object) -> object of the same kind",
        "Return the sum >>> add(1, 2)",
        "The following keys are understood here:",
        "Convert (a, b) = {c: [1, 2, 3, 4]} % 10 // 2",
        "word " * 81,
    ],
)
def test_what_is_not_prose_is_left_out(text: str) -> None:
    assert not pydocs.is_prose(text)


def test_a_sentence_is_prose() -> None:
    assert pydocs.is_prose("Return the number of rows that were read.")


def test_the_heavy_libraries_are_not_imported_with_the_package() -> None:
    heavy = "{'torch', 'datasets', 'pandas', 'pyarrow', 'tkinter'}"
    code = f"import sys, fedkrso_core.data; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
