from __future__ import annotations

import stat
import zipfile
from pathlib import Path
from typing import BinaryIO

import pytest

from cli.errors import CliError
from cli.export import adapter_line, export, unpack


def write_zip(file: BinaryIO | Path, members: dict[str, str]) -> None:
    with zipfile.ZipFile(file, "w") as zipped:
        for name, text in members.items():
            zipped.writestr(name, text)


def fetch_model(file: BinaryIO) -> None:
    write_zip(file, {"config.json": "{}", "sub/model.safetensors": "weights"})


def test_the_model_is_unpacked_and_nothing_else_is_left(tmp_path: Path) -> None:
    out = tmp_path / "new" / "model"
    assert export(fetch_model, out) > 0
    assert (out / "sub" / "model.safetensors").read_text() == "weights"
    assert [path.name for path in out.parent.iterdir()] == ["model"]


def test_a_model_that_is_being_built_is_asked_for_again(tmp_path: Path) -> None:
    waits = [0.01, 0.01]

    def fetch(file: BinaryIO) -> float | None:
        if waits:
            return waits.pop()
        fetch_model(file)
        return None

    export(fetch, tmp_path / "model")
    assert (tmp_path / "model" / "config.json").exists()


def test_a_folder_in_use_is_refused_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CliError, match="not empty; --force writes into it"):
        export(fetch_model, tmp_path)
    export(fetch_model, tmp_path, force=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "config.json").exists()


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    out = tmp_path / "empty"
    out.mkdir()
    export(fetch_model, out)
    assert (out / "config.json").exists()


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:evil"])
def test_a_zip_that_leads_out_of_its_folder_is_refused_whole(tmp_path: Path, name: str) -> None:
    archive, out = tmp_path / "model.zip", tmp_path / "out"
    write_zip(archive, {"config.json": "{}", name: "x"})
    with pytest.raises(CliError, match="leads out of its folder"):
        unpack(archive, out)
    assert not out.exists()


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "model.zip"
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr(link, "/etc")
    with pytest.raises(CliError, match="'link' leads out"):
        unpack(archive, tmp_path / "out")


def test_bytes_that_are_no_zip_are_an_error_and_leave_nothing(tmp_path: Path) -> None:
    def fetch(file: BinaryIO) -> None:
        file.write(b"not a zip")

    with pytest.raises(CliError, match="not a zip that can be read"):
        export(fetch, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_says_what_to_do_with_an_adapter(tmp_path: Path) -> None:
    assert adapter_line(tmp_path) is None
    (tmp_path / "adapter").mkdir()
    assert "goes on top of the base model" in str(adapter_line(tmp_path))
    (tmp_path / "base").mkdir()
    assert f"goes on top of {tmp_path / 'base'}" in str(adapter_line(tmp_path))
