"""Tokens of language models: what counts in the loss, what is cut, how prompts are asked."""

import numpy as np
import pytest
import torch
import transformers

from fedkrso_core.data import Examples
from fedkrso_core.lean.cross_entropy import fused_cross_entropy
from fedkrso_core.lm_batches import LmEncoder
from tests.core.tasks.conftest import WORDS, config_of, tokenizer

CPU = torch.device("cpu")


def ids(text: str) -> list[int]:
    return [WORDS.index(word) for word in text.split()]


def examples(*rows: tuple[str, str]) -> Examples:
    prompts, texts = zip(*rows, strict=True)
    return Examples(list(texts), None, [], (), prompts=list(prompts))


def batch(of: Examples, most: int = 16, start: bool = False) -> dict[str, torch.Tensor]:
    return LmEncoder(tokenizer(start), most, CPU).batch(of, np.arange(len(of)))


def test_the_prompt_and_the_padding_have_no_label() -> None:
    made = batch(examples(("the capital of france is ?", "paris"), ("of", "rome")))
    assert made["input_ids"][0].tolist() == ids("the capital of france is ? paris </s>")
    assert made["labels"][0].tolist() == [-100] * 6 + ids("paris </s>")
    assert made["input_ids"][1].tolist() == ids("of rome </s>") + [0] * 5
    assert made["labels"][1].tolist() == [-100, *ids("rome </s>"), *[-100] * 5]
    assert made["attention_mask"].sum(1).tolist() == [8, 3]


def test_without_prompts_every_token_counts() -> None:
    made = batch(Examples(["the capital"], None, [], ()))
    assert made["labels"].tolist() == [ids("the capital </s>")]


def test_a_tokenizer_that_begins_texts_begins_each_row_once() -> None:
    made = batch(examples(("of", "rome")), start=True)
    assert made["input_ids"].tolist() == [ids("<s> of rome </s>")]
    assert made["labels"].tolist() == [[-100, -100, *ids("rome </s>")]]


def test_a_long_prompt_loses_its_beginning() -> None:
    made = batch(examples(("the capital of france is ?", "paris")), most=5)
    assert made["input_ids"].tolist() == [ids("france is ? paris </s>")]


def test_a_long_text_loses_its_end_and_leaves_half_to_the_prompt() -> None:
    made = batch(examples(("the capital of", "france is italy is peru")), most=6)
    assert made["input_ids"].tolist() == [ids("the capital of france is italy")]
    assert made["labels"].tolist() == [[-100] * 3 + ids("france is italy")]


@pytest.mark.parametrize("most", [4, 5, 7])
def test_of_every_row_at_least_one_token_counts(most: int) -> None:
    made = batch(examples(("the " * 20, "paris"), ("of", "rome " * 20)), most=most)
    assert made["input_ids"].shape[1] <= most
    assert ((made["labels"] != -100).sum(1) > 0).all()


def test_prompts_to_be_answered_end_at_the_same_place() -> None:
    rows = examples(("the capital of france is ?", "paris"), ("of", "rome"))
    asked = LmEncoder(tokenizer(), 16, CPU).prompts(rows, np.arange(2), room=4)
    assert asked["input_ids"].tolist() == [ids("of france is ?"), [0, 0, 0, *ids("of")]]
    assert asked["attention_mask"].tolist() == [[1] * 4, [0, 0, 0, 1]]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_the_loss_on_masked_tokens_does_not_count(architecture: str, fused: bool) -> None:
    """By hand: the mean of -log p of the answer's tokens, each given what is before it."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config_of(architecture)).eval()
    made = batch(examples(("the capital of france is ?", "paris"), ("of", "rome rome")))
    logits = model(made["input_ids"], attention_mask=made["attention_mask"]).logits
    logs = logits.log_softmax(-1)
    counted = [(0, 5, "paris"), (0, 6, "</s>"), (1, 0, "rome"), (1, 1, "rome"), (1, 2, "</s>")]
    by_hand = -sum(logs[row, place, WORDS.index(word)] for row, place, word in counted) / 5
    loss = fused_cross_entropy(logits, made["labels"]) if fused else model(**made).loss
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)
