"""Rows that were uploaded: their names, their place, and how they are read."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from fedkrso_core import uploads
from fedkrso_core.data import files, sources
from fedkrso_core.data_spec import DataSpec
from fedkrso_core.errors import SpecError
from fedkrso_core.uploads import ENDINGS, Uploaded, ending_of

ROWS = b'{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n'
DIGEST = hashlib.sha256(ROWS).hexdigest()
SOURCE = f"upload:{DIGEST}.jsonl"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDKRSO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def put(content: bytes = ROWS, ending: str = ".jsonl") -> Uploaded:
    made = Uploaded(hashlib.sha256(content).hexdigest(), ending)
    made.put([content[:7], content[7:]])
    return made


def refusal(source: str, field: str = "data.train") -> str:
    with pytest.raises(SpecError) as refused:
        sources.read(source, field, "train")
    (problem,) = refused.value.problems
    assert (problem.field, problem.value) == (field, source)
    return problem.message


def test_an_upload_is_read_from_the_state_folder(state: Path) -> None:
    assert put().source == SOURCE
    assert (state / "uploads" / f"{DIGEST}.jsonl").read_bytes() == ROWS
    table = sources.read(SOURCE, "data.train", "train")
    assert (table.rows, table.columns, table.column("text")) == (2, ("text", "label"), ["a", "b"])


def test_an_upload_that_is_not_here_is_refused_in_words() -> None:
    message = refusal(SOURCE, "data.validation")
    assert message == f"{SOURCE} is not on this machine; upload it to the service first"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".jsonl",
        "../../etc/passwd.jsonl",
        f"{DIGEST}",
        f"{DIGEST}.txt",
        f"{DIGEST}.jsonl ",
        f"{DIGEST}.jsonl\n",
        f"{DIGEST}.jsonl/../../rows.csv",
        f"../{DIGEST[3:]}.jsonl",
        f"/{DIGEST[1:]}.jsonl",
        f"{DIGEST.upper()}.jsonl",
        f"{DIGEST[:-1]}.jsonl",
        f"{DIGEST}0.jsonl",
        f"{DIGEST[:-1]}٣.jsonl",
    ],
)
def test_what_is_not_a_digest_and_an_ending_names_no_file(name: str) -> None:
    assert Uploaded.of(f"upload:{name}") is None
    assert "is not an upload; allowed: upload:, 64 hex digits" in refusal(f"upload:{name}")


def test_the_endings_are_those_that_can_be_read() -> None:
    assert set(ENDINGS) == {*files.READERS, ".parquet"}
    for ending in ENDINGS:
        assert Uploaded.of(f"upload:{DIGEST}{ending}") == Uploaded(DIGEST, ending)
        assert ending_of(f"Rows{ending.upper()}") == ending
    assert ending_of("rows.gz") is None


def test_other_bytes_leave_nothing(state: Path) -> None:
    with pytest.raises(OSError, match="the bytes have sha256"):
        Uploaded(DIGEST, ".jsonl").put([b"other bytes"])
    assert list((state / "uploads").iterdir()) == []


def test_an_unreadable_upload_is_refused_with_the_line() -> None:
    found = put(b'{"text": "a"}\nno json\n')
    message = refusal(found.source)
    assert message.startswith(f"{found.source} cannot be read as .jsonl: line 2 is not JSON")


def test_parquet_is_read_without_a_copy_in_the_cache(state: Path, tmp_path: Path) -> None:
    import datasets

    rows = datasets.Dataset.from_list([json.loads(line) for line in ROWS.splitlines()])
    rows = rows.cast_column("label", datasets.ClassLabel(names=["x", "y"]))
    rows.to_parquet(str(tmp_path / "rows.parquet"))
    found = put((tmp_path / "rows.parquet").read_bytes(), ".parquet")
    table = sources.read(found.source, "data.train", "train")
    assert (table.column("text"), table.column("label")) == (["a", "b"], [0, 1])
    assert table.classes == {"label": ("x", "y")}
    assert [path.name for path in state.iterdir()] == ["uploads"]


def test_a_job_names_its_uploads_by_their_fields() -> None:
    assert uploads.named_in(DataSpec(train="rows.csv")) == {}
    named = uploads.named_in(DataSpec(train=SOURCE, validation="upload:b"))
    assert named == {"data.train": SOURCE, "data.validation": "upload:b"}


def test_what_nobody_used_for_long_is_forgotten(state: Path) -> None:
    uploads.forget_old(0.0)  # where nothing was ever uploaded
    old, used, kept = (put(b"%d" % n) for n in range(3))
    for each in (old, used, kept):
        os.utime(each.path, (1.0, 1.0))
    uploads.in_use(used.path)
    assert time.time() - used.path.stat().st_mtime < 60
    uploads.forget_old(3600.0, [kept.source])
    assert {path.name for path in (state / "uploads").iterdir()} == {used.path.name, kept.path.name}
    uploads.in_use(old.path)
    assert not old.path.exists()
