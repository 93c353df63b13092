"""Perplexity and exact match against numbers computed by hand."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from fedkrso_core.data import Examples
from fedkrso_core.lm_batches import LmEncoder
from fedkrso_core.lm_evaluate import evaluate_lm, exact_match, greedy
from fedkrso_core.spec import EvaluateSpec
from tests.core.tasks.conftest import ARCHITECTURES, CAPITALS, WORDS, config_of, tokenizer

CPU = torch.device("cpu")
ENCODER = LmEncoder(tokenizer(), 16, CPU)
ROWS = Examples(
    list(CAPITALS.values()), None, [], (), prompts=[f"of {country}" for country in CAPITALS]
)


class Knows(nn.Module):
    """Answers with the word after the last one in `after`, then with the end token."""

    def __init__(self, after: dict[str, str], sure: float = 30.0) -> None:
        super().__init__()
        table = torch.zeros(len(WORDS), len(WORDS))
        for word in WORDS:
            table[WORDS.index(word), WORDS.index(after.get(word, "</s>"))] = sure
        self.table, self.asked = table, 0
        self.config = SimpleNamespace(vocab_size=len(WORDS), max_position_embeddings=32)

    def forward(self, input_ids: Tensor, **_: Any) -> Any:
        self.asked += 1
        return SimpleNamespace(logits=self.table[input_ids], past_key_values=None)


def test_perplexity_is_e_to_the_mean_loss_of_all_tokens() -> None:
    model = transformers.AutoModelForCausalLM.from_config(config_of("llama")).eval()
    texts = Examples(["the capital of peru", "rome is", "lima"], None, [], ())
    total, count = 0.0, 0
    for text in texts.texts:
        row = [WORDS.index(word) for word in [*text.split(), "</s>"]]
        logs = model(torch.tensor([row])).logits[0].log_softmax(-1)
        total -= sum(logs[i, token].item() for i, token in enumerate(row[1:]))
        count += len(row) - 1
    for size in (1, 2, 3):  # whatever the batches
        found = evaluate_lm(model, ENCODER, texts, EvaluateSpec(batch_size=size))
        assert found["loss"] == pytest.approx(total / count, rel=1e-5)
        assert found["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-5)
        assert "exact_match" not in found  # nothing was asked


def test_a_uniform_model_has_the_vocabulary_for_a_perplexity() -> None:
    found = evaluate_lm(Knows({}, sure=0.0), ENCODER, ROWS, EvaluateSpec())
    assert found["perplexity"] == pytest.approx(len(WORDS), rel=1e-5)


def test_exact_match_is_the_share_of_right_answers() -> None:
    assert exact_match(Knows(CAPITALS), ENCODER, ROWS, EvaluateSpec()) == 1.0
    wrong = {**CAPITALS, "italy": "paris", "cuba": "lima"}
    assert exact_match(Knows(wrong), ENCODER, ROWS, EvaluateSpec()) == 3 / 5


def test_an_answer_that_goes_on_is_none() -> None:
    talks = {**CAPITALS, "paris": "is"}
    assert exact_match(Knows(talks), ENCODER, ROWS, EvaluateSpec()) == 4 / 5


def test_answers_are_bounded_in_rows_and_tokens() -> None:
    for rows, right in ((1, 0.0), (2, 0.5), (5, 4 / 5)):
        spec = EvaluateSpec(answers=rows, batch_size=1)
        model = Knows({**CAPITALS, "france": "rome"})
        assert exact_match(model, ENCODER, ROWS, spec) == right
    endless = Knows(dict.fromkeys(WORDS, "is"))
    exact_match(endless, ENCODER, ROWS, EvaluateSpec(answer_tokens=3, batch_size=5))
    assert endless.asked == 3
    assert "exact_match" not in evaluate_lm(endless, ENCODER, ROWS, EvaluateSpec(answers=0))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_answers_are_those_of_generate(architecture: str) -> None:
    """Prompts of different length beside each other, with keys kept or computed anew."""
    torch.manual_seed(1)
    config = config_of(architecture)
    config.initializer_range = 0.5
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    asked = ENCODER.prompts(ROWS, np.array([0, 1]), 16)
    asked["input_ids"][1, 0], asked["attention_mask"][1, 0] = 0, 0
    settings = {"do_sample": False, "max_new_tokens": 8, "eos_token_id": 3, "pad_token_id": 3}
    said = model.generate(**asked, **settings)[:, 2:].tolist()
    mine = greedy(model, asked, 8, 3)
    assert mine == [(row[: row.index(3)] if 3 in row else row) for row in said]


def test_an_evaluation_can_be_ended_between_batches() -> None:
    class Enough(Exception):
        pass

    left = iter([None] * 6)  # five batches of one row, and one of answers

    def before_batch() -> None:
        if next(left, Enough) is Enough:
            raise Enough

    with pytest.raises(Enough):
        evaluate_lm(Knows(CAPITALS), ENCODER, ROWS, EvaluateSpec(batch_size=1), before_batch)
