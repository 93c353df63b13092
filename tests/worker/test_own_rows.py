"""An external client's rows as a job wants them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fedkrso_core.errors import CoreError, SpecError
from fedkrso_core.spec import JobSpec, parse
from worker.own_rows import OwnRows, UnknownLabels

LABELS = ["cold", "warm"]


def rows_in(path: Path, rows: list[dict[str, Any]], **options: Any) -> OwnRows:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return OwnRows(path, "note", "code", **options)


def job(**changed: Any) -> JobSpec:
    return parse({"name": "a", **changed})


@pytest.fixture
def twenty() -> list[dict[str, Any]]:
    return [{"note": f"text {n}", "code": LABELS[n % 2]} for n in range(20)]


def test_labels_get_the_jobs_numbers_whatever_labels_are_here(tmp_path: Path) -> None:
    own = rows_in(tmp_path / "rows.jsonl", [{"note": "hot", "code": "warm"}] * 3, holdout=0.0)
    shares = own.shares(job(), LABELS, client=4)
    assert shares.train.labels == [1, 1, 1]
    assert list(shares.rows[4]) == [0, 1, 2]


def test_what_is_held_out_is_in_no_training_and_the_same_for_the_same_job(
    tmp_path: Path, twenty: list[dict[str, Any]]
) -> None:
    own = rows_in(tmp_path / "rows.jsonl", twenty, holdout=0.25)
    first, again = (own.shares(job(), LABELS, 0) for _ in range(2))
    assert (len(first.train), len(first.validation)) == (15, 5)
    assert sorted(first.train.texts + first.validation.texts) == sorted(r["note"] for r in twenty)
    assert again.validation.texts == first.validation.texts
    assert own.shares(job(seed=1), LABELS, 0).validation.texts != first.validation.texts


def test_separated_values_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("note,code\nhot,warm\nice,cold\n")
    assert OwnRows(path, "note", "code").shares(job(), LABELS, 0).train.labels == [1, 0]


def test_a_label_that_the_job_lacks_is_named_here_and_not_told(
    tmp_path: Path, twenty: list[dict[str, Any]]
) -> None:
    own = rows_in(tmp_path / "rows.jsonl", [*twenty, {"note": "x", "code": "HIV"}])
    with pytest.raises(UnknownLabels, match=r"row 21 has code 'HIV'.*allowed: cold, warm") as error:
        own.shares(job(), LABELS, 0)
    assert error.value.summary == "1 of 21 rows have labels that the job does not have"


def test_a_missing_column_is_named_with_those_that_are_there(
    tmp_path: Path, twenty: list[dict[str, Any]]
) -> None:
    rows_in(tmp_path / "rows.jsonl", twenty)
    with pytest.raises(CoreError, match="no column 'text'; it has: note, code"):
        OwnRows(tmp_path / "rows.jsonl", "text", "code").check()
    with pytest.raises(SpecError, match="there is no file"):
        OwnRows(tmp_path / "none.jsonl", "text", "code").check()


def test_a_job_about_pairs_needs_pairs(tmp_path: Path, twenty: list[dict[str, Any]]) -> None:
    own = rows_in(tmp_path / "rows.jsonl", twenty)
    with pytest.raises(CoreError, match="pairs of texts"):
        own.shares(job(data={"text_pair": "b"}), LABELS, 0)
