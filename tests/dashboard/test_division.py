"""The division of rows as a frame and in words."""

from __future__ import annotations

from typing import Any

from dashboard import division


def _answer(labels: list[str], *shares: list[int], clients: int | None = None) -> dict[str, Any]:
    return {
        "num_examples": sum(map(sum, shares)),
        "num_validation": 4,
        "labels": labels,
        "num_clients": clients or len(shares),
        "clients": [
            {"client": at, "num_examples": sum(share), "labels": share if labels else []}
            for at, share in enumerate(shares)
        ],
    }


def test_each_client_has_a_row_for_each_label() -> None:
    rows = division.frame(_answer(["a", "b"], [3, 1], [0, 2]))
    assert list(rows["rows"]) == [3, 1, 0, 2]
    assert list(rows["label"]) == ["a", "b", "a", "b"]


def test_of_many_labels_the_small_ones_share_a_part_and_no_row_is_lost() -> None:
    names = [f"l{n}" for n in range(9)]
    answer = _answer(names, list(range(9)), list(range(1, 10)))
    rows = division.frame(answer)
    assert rows["rows"].sum() == answer["num_examples"]
    assert division.OTHERS in set(rows["label"])
    assert rows["label"].nunique() == 6
    assert "l8" in set(rows["label"])


def test_rows_without_labels_are_counted() -> None:
    rows = division.frame(_answer([], [3], [5]))
    assert list(rows["rows"]) == [3, 5]
    assert set(rows["label"]) == {division.ROWS}


def test_it_is_told_in_words() -> None:
    said = division.in_words(_answer(["a", "b"], [3, 1], [0, 2], clients=9))
    assert said == (
        "6 rows for 9 clients, 2 to 4 each; 4 rows to evaluate on; "
        "1 of 2 clients lack at least one of the labels; the first 2 are shown."
    )
    assert "bring their own" in division.in_words(_answer(["a"]))


def test_no_client_at_all_is_an_empty_chart() -> None:
    assert division.figure(_answer(["a"])).chart.to_dict()


def test_the_method_does_not_matter_for_the_division() -> None:
    job = {"seed": 1, "method": {"name": "a"}, "clients": {"count": 3}}
    assert division.relevant(job) == division.relevant(job | {"method": {"name": "b"}})
    assert division.relevant(job) != division.relevant(job | {"seed": 2})
