"""Reading rows: each form of a source, the two splits, and what is said when something is wrong."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkrso_core.data import load
from fedkrso_core.data.examples import Examples
from fedkrso_core.data.sources import repository_and_config
from fedkrso_core.data_spec import DataSpec
from fedkrso_core.errors import SpecError
from tests.core.data.rows import TEN, jsonl, labelled, problem


def test_parquet_keeps_the_names_of_a_class_column(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    class_column().to_parquet(path)
    train, _ = load(DataSpec(train=str(path), validation=str(path)), 0)
    assert train.label_names == ("negative", "positive", "never-seen")
    assert train.label_histogram() == [2, 2, 0]


def test_a_saved_folder_is_read_by_its_splits(tmp_path: Path) -> None:
    import datasets  # type: ignore[import-untyped]

    datasets.disable_progress_bars()
    both = {"train": class_column(), "validation": class_column().select([3])}
    datasets.DatasetDict(both).save_to_disk(tmp_path / "saved")
    source = f"hf:{tmp_path}/saved"
    train, validation = load(DataSpec(train=source, validation=source), 0)
    assert (len(train), validation.labels) == (4, [1])
    train, validation = load(DataSpec(train=source, validation=f"{source}:train"), 0)
    assert validation.texts == train.texts


def test_a_folder_of_files_is_read_by_its_splits(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    jsonl(tmp_path / "rows" / "train.jsonl", TEN)
    jsonl(tmp_path / "rows" / "validation.jsonl", TEN[:3])
    source = f"hf:{tmp_path}/rows"
    train, validation = load(DataSpec(train=f"{source}:train[:6]", validation=source), 0)
    assert (len(train), len(validation)) == (6, 3)


def class_column() -> Any:
    import datasets

    names = ["negative", "positive", "never-seen"]
    kinds = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    rows = {"text": ["bad", "good", "poor", "fine"], "label": [0, 1, 0, 1]}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("glue/sst2", ("nyu-mll/glue", "sst2")),
        ("glue", ("nyu-mll/glue", None)),
        ("nyu-mll/glue/sst2", ("nyu-mll/glue", "sst2")),
        ("PolyAI/banking77", ("PolyAI/banking77", None)),
        ("imdb", ("imdb", None)),
    ],
)
def test_a_hub_name_is_an_id_and_a_configuration(
    name: str, expected: tuple[str, str | None]
) -> None:
    assert repository_and_config(name) == expected


def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    first, _ = load(DataSpec(train=labelled(path, 0, 1, 2, 2)), 0)
    second, _ = load(DataSpec(train=labelled(path, 3, 4, 4)), 0)
    assert (first.label_names, second.label_names) == (("0", "1", "2"), ("3", "4"))


def test_nothing_is_cached_outside_the_home(tmp_path: Path) -> None:
    class_column().to_parquet(tmp_path / "rows.parquet")
    load(DataSpec(train=f"{tmp_path}/rows.parquet"), 0)
    assert os.listdir(tmp_path / "home" / "cache" / "datasets") != []


def test_integer_labels_sort_as_numbers(tmp_path: Path) -> None:
    train, _ = load(DataSpec(train=labelled(tmp_path / "rows.jsonl", 10, 9, 9, 10)), 0)
    assert train.label_names == ("9", "10")


def test_validation_labels_take_the_numbers_of_train(tmp_path: Path) -> None:
    train = labelled(tmp_path / "train.jsonl", "a", "b", "c")
    validation = labelled(tmp_path / "validation.jsonl", "c", "c", "b")
    assert load(DataSpec(train=train, validation=validation), 0)[1].labels == [2, 2, 1]


def test_a_pair_task_has_two_texts(tmp_path: Path) -> None:
    rows = [{"one": f"p{row}", "two": f"h{row}", "label": row % 2} for row in range(4)]
    path = jsonl(tmp_path / "rows.jsonl", rows)
    spec = DataSpec(train=path, validation=path, text="one", text_pair="two")
    assert load(spec, 0)[0].pairs == ["h0", "h1", "h2", "h3"]


def test_max_rows_is_a_seeded_sample_in_the_order_of_the_source() -> None:
    whole, _ = load(DataSpec(validation="pydocs"), 0)
    spec = DataSpec(validation="pydocs", max_rows=50)
    sample, other = load(spec, 0)[0], load(spec, 1)[0]
    assert len(sample) == 50
    assert sample.texts == [text for text in whole.texts if text in set(sample.texts)]
    assert sample.sha256 == load(spec, 0)[0].sha256 != other.sha256


def test_without_validation_a_tenth_of_train_is_held_out() -> None:
    train, validation = load(DataSpec(max_rows=1000), 0)
    assert (len(train), len(validation)) == (900, 100)
    assert not set(train.texts) & set(validation.texts)


def test_at_least_one_row_is_held_out(tmp_path: Path) -> None:
    train, validation = load(DataSpec(train=labelled(tmp_path / "rows.jsonl", 0, 1, 1)), 0)
    assert (sorted(train.labels), validation.labels) == ([0, 1], [1])


@pytest.mark.parametrize("seed", range(20))
def test_every_held_out_label_stays_in_train(tmp_path: Path, seed: int) -> None:
    labels = [0, 1, 2, 2, *[3] * 26]
    train, validation = load(DataSpec(train=labelled(tmp_path / "rows.jsonl", *labels)), seed)
    assert len(validation) == 3
    assert set(validation.labels) <= set(train.labels)


@given(st.data())
def test_select_keeps_rows_together(data: st.DataObject) -> None:
    examples = Examples(
        list("abcde"), list("ABCDE"), [0, 1, 2, 3, 4], tuple("vwxyz"), list("12345")
    )
    rows = data.draw(st.lists(st.integers(0, 4)))
    chosen = examples.select(rows)
    assert chosen.labels == rows
    assert chosen.texts == [examples.texts[row] for row in rows]
    assert chosen.pairs == [text.upper() for text in chosen.texts]
    assert sum(chosen.label_histogram()) == len(chosen) == len(rows)


def test_an_unknown_form_lists_the_known_ones() -> None:
    wrong = problem(DataSpec(train="rows.xlsx"))
    assert (wrong.field, wrong.value) == ("data.train", "rows.xlsx")
    for allowed in ("pydocs", ".jsonl", ".jsonl.gz", ".csv", ".tsv", ".parquet", "hf:"):
        assert allowed in wrong.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    wrong = problem(DataSpec(validation=f"{tmp_path}/none.csv"))
    assert (wrong.field, wrong.message) == ("data.validation", f"there is no file {wrong.value}")


def test_every_missing_column_is_reported_with_those_that_exist(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", TEN)
    spec = DataSpec(train=path, text="sentence", text_pair="other", label="class")
    with pytest.raises(SpecError) as refused:
        load(spec, 0, "city")
    fields = [each.field for each in refused.value.problems]
    assert fields == ["data.text", "data.text_pair", "data.label", "partition.column"]
    assert all("it has: text, label, owner" in str(each) for each in refused.value.problems)


@pytest.mark.parametrize(
    ("rows", "field", "message"),
    [
        ([("a", 0), (None, 1)], "data.text", "row 2 of"),
        ([(["a"], 0), (["b"], 1)], "data.text", "holds list, not text"),
        ([("a", 0), ("b", -1)], "data.label", "'label' is -1"),
        ([("a", 0), ("b", None)], "data.label", "'label' is None"),
        ([("a", 0.5), ("b", 1.5)], "data.label", "holds float"),
        ([("a", 0), ("b", "x")], "data.label", "holds int and str"),
        ([("a", 7), ("b", 7)], "data.label", "holds only 7"),
    ],
)
def test_rows_that_cannot_be_learnt_from_are_refused(
    tmp_path: Path, rows: list[tuple[Any, Any]], field: str, message: str
) -> None:
    written = [{"text": text, "label": label} for text, label in rows]
    wrong = problem(DataSpec(train=jsonl(tmp_path / "rows.jsonl", written)))
    assert wrong.field == field
    assert message in wrong.message


def test_a_row_without_an_owner_is_refused(tmp_path: Path) -> None:
    rows = [*TEN, {"text": "stray", "label": "a", "owner": None}]
    wrong = problem(DataSpec(train=jsonl(tmp_path / "rows.jsonl", rows)), "owner")
    assert wrong.field == "partition.column"
    assert "row 11" in wrong.message


def test_validation_labels_that_train_lacks_are_listed(tmp_path: Path) -> None:
    train = labelled(tmp_path / "train.jsonl", "a", "b")
    validation = labelled(tmp_path / "validation.jsonl", "b", "d", "c")
    wrong = problem(DataSpec(train=train, validation=validation))
    assert wrong.field == "data.validation"
    assert "train lacks: c, d; train has a, b" in wrong.message


def test_rows_with_one_row_for_each_label_cannot_be_held_out(tmp_path: Path) -> None:
    wrong = problem(DataSpec(train=labelled(tmp_path / "rows.jsonl", 0, 1)))
    assert wrong.field == "data.validation"


def test_an_unknown_split_lists_those_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    jsonl(tmp_path / "rows" / "train.jsonl", TEN)
    wrong = problem(DataSpec(train=f"hf:{tmp_path}/rows:dev"))
    assert "dev" in wrong.message
    assert "['train']" in wrong.message


@pytest.mark.parametrize("name", ["hf:", "hf:a/b/c/d", "hf:a//b", "hf:/no/such/folder"])
def test_a_malformed_hub_name_is_refused_without_asking_the_hub(name: str) -> None:
    wrong = problem(DataSpec(train=name))
    assert (wrong.field, wrong.value) == ("data.train", name)
