"""Batches: every row once in each pass, the same again for the same seed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fedkrso_core.batches import Encoder, evaluation_batches, training_batches
from fedkrso_core.data import Examples
from fedkrso_core.models import load_tokenizer
from fedkrso_core.seeds import generator

ANIMALS = ["cat", "dog", "horse", "bird", "fish", "cow", "sheep", "goat", "duck", "mouse"]
ROWS = Examples(ANIMALS, None, list(range(10)), tuple(ANIMALS))


@pytest.fixture
def encoder(tiny_model: Path) -> Encoder:
    return Encoder(load_tokenizer(str(tiny_model)), 8, torch.device("cpu"))


@pytest.fixture
def labels_of(encoder: Encoder) -> Callable[..., list[list[int]]]:
    """Labels of each training batch; each row of ROWS has its own."""

    def drawn(rows: list[int], steps: int, size: int, seed: int = 0) -> list[list[int]]:
        batches = training_batches(encoder, ROWS, np.array(rows), steps, size, generator(seed))
        return [batch["labels"].tolist() for batch in batches]

    return drawn


def test_a_batch_holds_ids_mask_and_labels(encoder: Encoder) -> None:
    examples = Examples(["cat dog", "rain"], None, [1, 0], ("a", "b"))
    batch = encoder.batch(examples, np.array([1, 0]))
    assert batch["labels"].tolist() == [0, 1]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert batch["input_ids"][1].tolist() == [2, 5, 6, 3]


def test_texts_are_cut_at_the_maximum_length(encoder: Encoder) -> None:
    examples = Examples(["cat " * 50], None, [0], ("a",))
    assert encoder.batch(examples, np.array([0]))["input_ids"].shape == (1, 8)


def test_pairs_are_encoded_together(encoder: Encoder) -> None:
    examples = Examples(["cat"], ["dog"], [0], ("a",))
    assert encoder.batch(examples, np.array([0]))["input_ids"].tolist() == [[2, 5, 3, 6, 3]]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("pairs", [None, ["dog", "rain cat dog", "dog"]])
def test_a_batch_is_what_the_tokenizer_makes_of_its_rows_also_when_they_come_again(
    encoder: Encoder, side: str, pairs: list[str] | None
) -> None:
    texts, tokenizer = ["cat dog rain", "rain", "cat"], encoder.tokenizer
    tokenizer.padding_side = side
    examples = Examples(texts, pairs, [0, 1, 0], ("a", "b"))
    for rows in ([0, 1], [2, 1], [1, 1, 0], [2]):
        batch = encoder.batch(examples, np.array(rows))
        given = [texts[i] for i in rows], pairs and [pairs[i] for i in rows]
        made = tokenizer(*given, truncation=True, max_length=8, padding=True, return_tensors="pt")
        assert {*batch} == {*made, "labels"}
        for name, tensor in made.items():
            assert torch.equal(batch[name], tensor), name
            assert batch[name].dtype == tensor.dtype


def test_rows_are_forgotten_when_they_are_too_many(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedkrso_core.encoded_rows._MOST_TOKENS", 10)
    wanted = [encoder.batch(ROWS, np.array([row]))["input_ids"] for row in range(10)]
    again = [encoder.batch(ROWS, np.array([row]))["input_ids"] for row in range(10)]
    assert all(torch.equal(a, b) for a, b in zip(wanted, again, strict=True))


def test_each_pass_takes_every_row_once(labels_of: Callable[..., list[list[int]]]) -> None:
    drawn = [label for batch in labels_of([0, 2, 4, 6, 8], steps=5, size=3) for label in batch]
    passes = [drawn[0:5], drawn[5:10], drawn[10:15]]
    assert [sorted(each) for each in passes] == [[0, 2, 4, 6, 8]] * 3
    assert passes[0] != passes[1] != passes[2] != passes[0]


def test_a_batch_may_be_larger_than_the_share(labels_of: Callable[..., list[list[int]]]) -> None:
    assert [sorted(batch) for batch in labels_of([3, 7], steps=2, size=4)] == [[3, 3, 7, 7]] * 2


def test_the_seed_decides_the_order(labels_of: Callable[..., list[list[int]]]) -> None:
    rows = list(range(10))
    assert labels_of(rows, 4, 3, seed=1) == labels_of(rows, 4, 3, seed=1)
    assert labels_of(rows, 4, 3, seed=1) != labels_of(rows, 4, 3, seed=2)


def test_evaluation_takes_all_rows_in_order(encoder: Encoder) -> None:
    batches = [b["labels"].tolist() for b in evaluation_batches(encoder, ROWS, 4)]
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
