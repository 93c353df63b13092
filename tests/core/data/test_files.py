"""Files of rows: JSON lines and separated values."""

import gzip
from pathlib import Path

import pytest

from fedkrso_core.data import load
from fedkrso_core.data_spec import DataSpec
from tests.core.data.rows import TEN, jsonl, problem


def test_jsonl_is_read_in_its_order(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", TEN)
    train, _ = load(DataSpec(train=path, validation=path), 0, "owner")
    assert train.texts == [row["text"] for row in TEN]
    assert train.labels == [0, 1] * 5
    assert train.label_names == ("a", "b")
    assert train.groups == list("0001112223")


def test_gzipped_jsonl_is_the_same_rows(tmp_path: Path) -> None:
    plain = jsonl(tmp_path / "rows.jsonl", TEN)
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(Path(plain).read_bytes()))
    digests = {load(DataSpec(train=path), 0)[0].sha256 for path in (plain, str(packed))}
    assert len(digests) == 1


@pytest.mark.parametrize(("ending", "separator"), [(".csv", ","), (".tsv", "\t")])
def test_words_such_as_null_are_text_in_a_csv(tmp_path: Path, ending: str, separator: str) -> None:
    path = tmp_path / f"rows{ending}"
    rows = [("text", "label"), ("null", "1"), ('"NA, really"', "0"), ("nan", "1")]
    path.write_text("".join(separator.join(row) + "\n" for row in rows))
    train, _ = load(DataSpec(train=str(path), validation=str(path)), 0)
    assert train.texts == ["null", "NA, really", "nan"]
    assert train.labels == [1, 0, 1]


def test_a_csv_is_text_but_for_columns_of_integers(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    long = "x" * 200_000
    text = f'\ufefftext,label,owner\n"two\nlines, ""so""",10,007\n{long},9,1.50\n2020-01-01,9,7\n'
    path.write_text(text, encoding="utf-8")
    train, _ = load(DataSpec(train=str(path), validation=str(path)), 0, "owner")
    assert train.texts == ['two\nlines, "so"', long, "2020-01-01"]
    assert train.label_names == ("9", "10")
    assert train.groups == ["007", "1.50", "7"]


def test_rows_of_json_may_lack_columns_and_hold_dates(tmp_path: Path) -> None:
    rows = [{"text": "2020-01-01", "label": True}, {"owner": 3, "text": "b", "label": False}]
    path = jsonl(tmp_path / "rows.jsonl", rows)
    train, _ = load(DataSpec(train=path, validation=path), 0)
    assert (train.texts, train.label_names) == (["2020-01-01", "b"], ("False", "True"))
    wrong = problem(DataSpec(train=path), "owner")
    assert "row 1" in wrong.message


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("rows.jsonl", b"", "no rows"),
        ("rows.csv", b"text,label\n", "no rows"),
        ("rows.jsonl", b'{"text": "a"}\n{"text": ', "line 2 is not JSON"),
        ("rows.jsonl", b'["text"]', "line 1 is not an object"),
        ("rows.jsonl.gz", b"plain", "gzip"),
        ("rows.parquet", b"plain text", "Parquet"),
        ("rows.csv", b'text,label\n"open,1\n', "line 2: unexpected end of data"),
        ("rows.csv", b"text,label\na,1\n\nb,1,2\n", "line 4 has 3 values, the header has 2"),
        ("rows.csv", b"text,label,text\n", "the header names 'text' twice"),
        ("rows.csv", b"text,label\n\xff,1\n", "can't decode byte 0xff"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    wrong = problem(DataSpec(train=str(tmp_path / name)))
    assert wrong.field == "data.train"
    assert reason in wrong.message
