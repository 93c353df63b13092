"""Fetching a trained model and unpacking it into a folder."""

from __future__ import annotations

import shutil
import stat
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from cli.errors import CliError

Fetch = Callable[[BinaryIO], float | None]
BUILD_S = 1800.0


def export(fetch: Fetch, out: Path, force: bool = False) -> int:
    """Unpack the zip that `fetch` writes into `out`; its size in bytes.

    `fetch` returns None when it wrote the zip, else seconds to wait before it is asked again.
    """
    require_empty(out, force)
    out.parent.mkdir(parents=True, exist_ok=True)
    # beside `out`, so that a full disk is noticed before anything is in it
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".fedkrso-") as folder:
        archive = Path(folder) / "model.zip"
        _download(fetch, archive)
        unpacked = Path(folder) / "model"
        unpack(archive, unpacked)
        shutil.copytree(unpacked, out, dirs_exist_ok=True)
        return archive.stat().st_size


def adapter_line(out: Path) -> str | None:
    """What to do with a folder whose model is an adapter; None if it has a model of its own."""
    if not (out / "adapter").is_dir():
        return None
    base = f"{out / 'base'}" if (out / "base").is_dir() else "the base model"
    readme = out / "adapter" / "README.md"
    return f"the adapter {out / 'adapter'} goes on top of {base}; {readme} says how to load it"


def require_empty(out: Path, force: bool = False) -> None:
    """Refuse an `out` in which something would be overwritten."""
    if out.exists() and not out.is_dir():
        raise CliError(f"--out {out}: is a file")
    if not force and out.is_dir() and any(out.iterdir()):
        raise CliError(f"--out {out}: not empty; --force writes into it")


def unpack(archive: Path, out: Path) -> None:
    """Unpack a zip, or refuse all of it if a member would leave `out`."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            for member in zipped.infolist():
                _require_inside(member)
            out.mkdir()
            zipped.extractall(out)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise CliError(f"the model is not a zip that can be read: {error}") from None


def _require_inside(member: zipfile.ZipInfo) -> None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    is_link = stat.S_ISLNK(member.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or is_link:
        raise CliError(f"the model's zip is refused: {member.filename!r} leads out of its folder")


def _download(fetch: Fetch, archive: Path) -> None:
    give_up = time.monotonic() + BUILD_S
    while time.monotonic() < give_up:
        with archive.open("wb") as file:
            wait_s = fetch(file)
        if wait_s is None:
            return
        time.sleep(wait_s)
    raise CliError(f"the model was not built within {BUILD_S:.0f} s")
