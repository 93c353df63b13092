"""Rules of the house that a machine can hold: sizes, names, registry, and docs that stay true."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("fedkrso_core", "api", "worker", "dashboard", "cli", "migrations", "telemetry")
TREES = (*PACKAGES, "tests", "benchmarks")
LONGEST = 300
VAGUE = {"utils.py", "helpers.py", "manager.py", "base.py"}
UNSAFE = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def python_files(*trees: str) -> list[Path]:
    return [path for tree in trees for path in sorted((ROOT / tree).rglob("*.py"))]


def imported(path: Path) -> Iterator[str]:
    """The top-level names of the modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def text_of(*names: str) -> str:
    return "\n".join((ROOT / name).read_text(encoding="utf-8") for name in names)


def relative(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_every_method_is_in_the_registry() -> None:
    from fedkrso_core.methods import METHODS

    files = {path.stem for path in (ROOT / "fedkrso_core/methods").glob("*.py")} - {"__init__"}
    assert files == set(METHODS)


def test_every_method_has_a_test_of_its_own() -> None:
    from fedkrso_core.methods import METHODS

    tested = {path.stem for path in (ROOT / "tests/core/methods").glob("test_*.py")}
    assert {f"test_{name}" for name in METHODS} <= tested


def test_nothing_unpickles() -> None:
    files = python_files(*TREES)
    assert relative([path for path in files if UNSAFE & set(imported(path))]) == []
    loads = re.compile(r"\btorch\.(load|save)\(")
    assert relative([p for p in python_files(*PACKAGES) if loads.search(p.read_text())]) == []


def test_no_file_is_too_long_for_a_head() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in python_files(*TREES)}
    assert relative([path for path, lines in lengths.items() if lines > LONGEST]) == []


def test_half_of_the_files_are_short() -> None:
    lengths = sorted(len(path.read_text().splitlines()) for path in python_files(*PACKAGES))
    assert lengths[len(lengths) // 2] <= 120


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert relative([path for path in python_files(*TREES) if path.name in VAGUE]) == []


@pytest.mark.parametrize("package", ["api", "worker", "telemetry"])
def test_every_setting_is_in_the_docs(package: str) -> None:
    settings = importlib.import_module(f"{package}.settings").Settings
    names = [f"FEDKRSO_{name.upper()}" for name in settings.model_fields]
    documented = text_of("docs/settings.md")
    assert [name for name in names if not re.search(rf"\b{name}\b", documented)] == []


def test_every_method_is_in_the_readme() -> None:
    from fedkrso_core.methods import METHODS

    readme = text_of("README.md")
    assert [name for name in METHODS if f"`{name}`" not in readme] == []


def test_every_route_is_in_the_docs() -> None:
    from api.main import app

    # how a parameter is called is up to the docs: /v1/jobs/{job_id} may be /v1/jobs/{id} there
    documented = re.sub(r"\{\w+\}", "{}", text_of("docs/http-protocol.md", "docs/rest.md"))
    paths = [re.sub(r"\{\w+\}", "{}", path) for path in app.openapi()["paths"]]
    assert [path for path in paths if path not in documented] == []


def test_the_tree_in_the_readme_lists_every_folder() -> None:
    readme = text_of("README.md")
    folders = [
        path.name
        for path in ROOT.iterdir()
        if path.is_dir() and not path.name.startswith((".", "__")) and tracked(path)
    ]
    assert [name for name in sorted(folders) if f"{name}/" not in readme] == []


def tracked(folder: Path) -> bool:
    """Whether git would keep the folder: build outputs are no part of the tree."""
    return folder.name not in {"dist", "out", "build"} and not folder.name.endswith(".egg-info")


def test_the_tree_in_the_readme_lists_every_module_of_the_core() -> None:
    readme = text_of("README.md")
    modules = [path.name for path in (ROOT / "fedkrso_core").glob("*.py")]
    folders = [f"{path.parent.name}/" for path in (ROOT / "fedkrso_core").glob("*/__init__.py")]
    wanted = sorted({*modules, *folders} - {"__init__.py"})
    assert [name for name in wanted if not re.search(rf"\b{re.escape(name)}", readme)] == []
