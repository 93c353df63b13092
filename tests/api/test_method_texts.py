"""What the API says about methods is what their files say."""

from __future__ import annotations

import pytest

from api.services import method_texts
from fedkrso_core.methods import METHODS


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_what_it_is_and_what_travels(name: str) -> None:
    method = METHODS[name]
    assert method_texts.summary(method).endswith(".")
    assert "bytes" in method_texts.traffic(method), "a paragraph that begins with 'Up:'"


def test_the_texts_are_those_of_the_file() -> None:
    fedit = METHODS["fedit"]
    assert method_texts.summary(fedit) == "Federated LoRA, both factors averaged."
    assert method_texts.traffic(fedit).startswith(
        "Up and down: 4 r (d_in + d_out) bytes for each layer, and the classifier."
    )


def test_a_file_that_does_not_say_so_gives_nothing() -> None:
    class Odd:
        class Config:
            __module__ = "json"

    assert method_texts.traffic(Odd) == ""
