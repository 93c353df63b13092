"""Randomness: derived from its parts, never from a global generator, the same for ever."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedkrso_core.seeds import derive, generator

PARTS = st.lists(st.integers(0, 2**63 - 1) | st.text(max_size=10), max_size=4)


def test_seeds_never_change() -> None:
    assert derive(0, "select", 1) == 5304692706374735243
    assert generator(0, "select", 1).integers(0, 1000, 4).tolist() == [217, 234, 674, 387]


@given(PARTS, PARTS)
def test_different_parts_give_different_seeds(one: list[int | str], other: list[int | str]) -> None:
    assert 0 <= derive(*one) < 2**63
    assert (derive(*one) == derive(*other)) == (one == other)


def test_a_number_is_not_its_text() -> None:
    assert len({derive(1), derive("1"), derive(1, ""), derive("", 1), derive("1,")}) == 5


def test_each_call_begins_the_stream_anew() -> None:
    first, again = generator(3, "x"), generator(3, "x")
    assert first.random() == again.random()
    assert first.random() != generator(3, "x").random()


def test_the_global_generator_is_not_touched() -> None:
    before = np.random.get_state()[1].copy()
    generator(1).random(10)
    assert (np.random.get_state()[1] == before).all()
