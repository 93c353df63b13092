"""pydocs: which part of Python is this about? A real data set that every Python brings along.

A row is the first paragraph of a docstring in the standard library; its label is the area of the
library that it comes from, its group the top-level module. The source files are parsed, never
imported. The rows are those of the Python that runs: another version, or one packaged without some
modules, has somewhat other rows. `Examples.sha256` tells them apart.
"""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from fedkrso_core.errors import DataError

# area -> the top-level modules and packages that belong to it, in any version from 3.11 to 3.14
AREAS: dict[str, str] = {
    "concurrency": (
        "_threading_local asynchat asyncio asyncore concurrent contextvars multiprocessing queue "
        "sched selectors signal subprocess threading"
    ),
    "files-archives": (
        "_compression _pyio aifc bz2 chunk compression dbm filecmp fileinput fnmatch genericpath "
        "glob gzip imghdr io linecache lzma ntpath os pathlib pickle posixpath shelve shutil "
        "sndhdr sqlite3 stat sunau tarfile tempfile wave zipapp zipfile"
    ),
    "gui": "curses idlelib tkinter turtle turtledemo",
    "language-tools": (
        "_collections_abc _py_abc _pyrepl _weakrefset abc annotationlib ast code codeop "
        "collections compileall contextlib copy copyreg ctypes dataclasses dis ensurepip enum "
        "functools graphlib imp importlib inspect keyword modulefinder opcode operator pickletools "
        "pkgutil platform py_compile pyclbr pydoc rlcompleter runpy site symtable sysconfig "
        "tabnanny token tokenize types typing venv weakref zipimport"
    ),
    "mail-web": (
        "cgi email ftplib html http imaplib ipaddress mailbox mailcap mimetypes netrc nntplib "
        "nturl2path poplib smtpd smtplib socket socketserver ssl telnetlib urllib webbrowser "
        "wsgiref xmlrpc"
    ),
    "numbers-dates": (
        "_pydatetime _pydecimal _pylong _strptime bisect calendar colorsys datetime decimal "
        "fractions hashlib heapq hmac numbers random secrets statistics uuid zoneinfo"
    ),
    "testing-debugging": (
        "bdb cProfile cgitb doctest logging pdb profile profiling pstats timeit "
        "trace traceback tracemalloc unittest warnings"
    ),
    "text-formats": (
        "_markupbase argparse base64 cmd codecs configparser csv difflib encodings getopt gettext "
        "json locale optparse plistlib pprint quopri re reprlib shlex string stringprep struct "
        "textwrap tomllib uu xdrlib xml"
    ),
}

MIN_WORDS, MAX_WORDS = 5, 80
MIN_LETTERS = 0.88  # share of letters and spaces; below it are signatures, tables and code

_AREA_OF = {module: area for area, modules in AREAS.items() for module in modules.split()}
_TESTS = {"test", "tests", "idle_test"}


class Row(NamedTuple):
    """A paragraph, the area of the library it documents and the module it stands in."""

    text: str
    label: str
    group: str


@lru_cache(maxsize=1)
def rows() -> tuple[Row, ...]:
    """Every row, ordered by module path and then by position in the file.

    A paragraph that stands in several places is kept where it comes first.

    Raises:
        DataError: this Python was packaged without the sources of its library.
    """
    library = Path(sysconfig.get_path("stdlib"))
    first: dict[str, Row] = {}
    for path in _sources(library):
        module = path.relative_to(library).parts[0].removesuffix(".py")
        for text in _paragraphs(path):
            first.setdefault(text.lower(), Row(text, _AREA_OF[module], module))
    if not first:
        raise DataError(f"pydocs: no docstrings under {library}; name another source of data")
    return tuple(first.values())


def is_prose(text: str) -> bool:
    """Whether a paragraph is a sentence of use: neither a fragment nor a signature nor code."""
    letters = sum(char.isalpha() or char == " " for char in text)
    return (
        MIN_WORDS <= len(text.split()) <= MAX_WORDS
        and text[0].isupper()
        and letters >= MIN_LETTERS * len(text)
        and not text.endswith(":")
        and ">>>" not in text
        and "->" not in text
    )


def _sources(library: Path) -> list[Path]:
    """The files of the modules in AREAS, tests left out, in an order of their own."""
    found: list[Path] = []
    for module in _AREA_OF:
        found += library.glob(f"{module}.py")
        found += library.glob(f"{module}/**/*.py")
    wanted = [path for path in found if not _TESTS & set(path.relative_to(library).parts)]
    return sorted(wanted, key=lambda path: path.relative_to(library).as_posix())


def _paragraphs(path: Path) -> Iterator[str]:
    """First paragraphs of the docstrings of a file in their order, white space collapsed."""
    for docstring in _docstrings(path):
        lines = docstring.strip().splitlines()
        blank = next((at for at, line in enumerate(lines) if not line.strip()), len(lines))
        text = " ".join(" ".join(lines[:blank]).split())
        if is_prose(text):
            yield text


def _docstrings(path: Path) -> list[str]:
    with warnings.catch_warnings():  # old escapes in the sources are not the reader's concern
        warnings.simplefilter("ignore")
        tree = ast.parse(path.read_bytes())
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(tree) if isinstance(node, owners)]
    found.sort(key=lambda node: getattr(node, "lineno", 0))  # walk goes level by level
    return [docstring for node in found if (docstring := ast.get_docstring(node))]
