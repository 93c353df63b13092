from __future__ import annotations

from pathlib import Path

import pytest

from cli.errors import CliError
from cli.jobfile import absolute, load


def test_paths_that_exist_become_absolute(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").touch()
    (tmp_path / "model").mkdir()
    job = {"model": "model", "data": {"train": "rows.csv", "validation": "none.csv"}}
    assert absolute(job, tmp_path) == {
        "model": str(tmp_path / "model"),
        "data": {"train": str(tmp_path / "rows.csv"), "validation": "none.csv"},
    }
    assert job["model"] == "model"


def test_built_in_names_stay_even_beside_a_folder_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "minilm").mkdir()
    (tmp_path / "pydocs").mkdir()
    job = {"model": "minilm", "data": {"train": "pydocs"}}
    assert absolute(job, tmp_path) == job


def test_what_is_wrong_with_a_job_is_left_for_the_server_to_say(tmp_path: Path) -> None:
    job = {"model": 3, "data": "rows.csv"}
    assert absolute(job, tmp_path) == job


def test_a_missing_file_is_named_once(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    with pytest.raises(CliError) as caught:
        load(path, tmp_path)
    assert caught.value.lines == (f"{path}: cannot be read: No such file or directory",)
    assert caught.value.code == 2


def test_a_list_is_not_a_job(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("- a\n")
    with pytest.raises(CliError, match=r"job\.yaml: job: is a mapping of fields, not list"):
        load(path, tmp_path)
