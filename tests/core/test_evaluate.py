"""Quality of a model on rows."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedkrso_core.evaluate import evaluate


class Echo(nn.Module):
    """Its logits are its inputs."""

    def forward(self, input_ids: Tensor) -> Any:
        return SimpleNamespace(logits=input_ids)


def batch(*rows: tuple[list[float], int]) -> dict[str, Tensor]:
    logits, labels = zip(*rows, strict=True)
    return {"input_ids": torch.tensor(logits), "labels": torch.tensor(labels)}


def test_loss_is_the_mean_over_rows_not_batches() -> None:
    sure, even = ([0.0, 30.0], 1), ([0.0, 0.0], 0)
    found = evaluate(Echo(), [batch(sure, sure, sure), batch(even)])
    assert found["loss"] == pytest.approx(0.6931472 / 4)
    assert found["accuracy"] == 1.0


def test_metrics_are_over_all_batches() -> None:
    found = evaluate(Echo(), [batch(([1.0, 0.0], 0), ([1.0, 0.0], 1)), batch(([0.0, 1.0], 1))])
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)


def test_dropout_is_off_and_no_gradient_is_kept() -> None:
    model = nn.Module()
    model.dropout, model.forward = nn.Dropout(0.5), Echo().forward
    evaluate(model.train(), [batch(([1.0, 0.0], 0), ([0.0, 1.0], 1))])
    assert not model.dropout.training


def test_an_evaluation_can_be_ended_between_batches() -> None:
    left = iter([None, None])

    class Enough(Exception):
        pass

    def before_batch() -> None:
        if next(left, Enough) is Enough:
            raise Enough

    batches = iter([batch(([1.0, 0.0], 0))] * 5)
    with pytest.raises(Enough):
        evaluate(Echo(), batches, before_batch)
    assert len(list(batches)) == 2
