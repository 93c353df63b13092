"""A checkpoint leads to the very bits that the journal leads to, and is as long as was forecast."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from fedkrso_core.checkpoint import catch_up_bytes, checkpoint_bytes, replaced
from fedkrso_core.global_model import StateRef
from fedkrso_core.methods import METHODS
from fedkrso_core.models import shapes_only
from fedkrso_core.payload import Payload, decode, digest, encode
from fedkrso_core.workload import Workload

JOURNALS = [name for name, method in METHODS.items() if method.journal]
VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {"method": {"name": name}} for name in JOURNALS},
    "few layers": {"method": {"name": "fedkrso", "targets": ["query"]}},
    "norms and biases": {"method": {"name": "fedkrso", "train_norm_bias": True}},
    "own heads": {"method": {"name": "fedkrso"}, "local_head": True},
    "decay": {"method": {"name": "fedkrso"}, "local": {"steps": 2, "weight_decay": 0.1}},
}
SIZES = [10, 50, 60, 70, 80]


def ref(payload: Payload) -> StateRef:
    return StateRef(digest(encode(payload)), lambda: payload)


def not_here() -> NoReturn:
    raise AssertionError("a state that the checkpoint replaces was asked for")


@pytest.fixture(params=VARIANTS)
def played(request: pytest.FixtureRequest, federation: Callable[..., Any]) -> Any:
    """A job after three rounds, with the base's weights as `base`."""
    fed = federation(**{"local": {"steps": 2}, **VARIANTS[request.param]})
    fed.base = fed.weights()
    fed.play(3)
    return fed


def test_a_journal_changes_what_its_method_says_and_nothing_else(played: Any) -> None:
    after = played.global_weights()
    changed = {name for name, old in played.base.items() if not torch.equal(old, after[name])}
    assert changed <= set(played.method.changes(played.config, played.model))


def test_a_client_that_took_the_checkpoint_has_the_same_model_and_trains_the_same(
    played: Any, tmp_path: Path
) -> None:
    chain = [ref(state) for state in played.states]
    wanted = played.work.global_model.materialize(chain)
    sha = played.work.global_model.sha256()
    assert wanted is played.model
    taken = decode(encode(played.work.checkpoint(chain[:3])))
    late = Workload(played.job, tmp_path / "late", torch.device("cpu"))
    gone = [StateRef(state.digest, not_here) for state in chain[:2]]
    offered = StateRef(chain[2].digest, not_here, lambda: taken)
    late.global_model.materialize([*gone, offered, chain[3]])
    assert late.global_model.sha256() == sha
    update = late.train([*gone, offered, chain[3]], 1, 4).update
    assert encode(update.upload) == encode(played.work.train(chain, 1, 4).update.upload)


def test_its_bytes_are_known_from_shapes_alone(played: Any) -> None:
    chain = [ref(state) for state in played.states]
    shapes = shapes_only(played.job.model, ("animals", "tools", "weather"))
    forecast = checkpoint_bytes(played.method, played.config, shapes)
    assert len(encode(played.work.checkpoint(chain))) == forecast == played.work.checkpoint_bytes


@pytest.mark.parametrize("name", [name for name in METHODS if name not in JOURNALS])
def test_where_states_replace_each_other_there_is_none(name: str) -> None:
    assert METHODS[name].changes is None


@pytest.mark.parametrize("name", JOURNALS)
def test_every_journal_has_one(name: str) -> None:
    assert METHODS[name].changes is not None


@pytest.mark.parametrize(
    ("lacked", "checkpoint", "last", "size"),
    [
        (range(0, 5), 189, 3, 189 + 80),
        (range(0, 5), 190, None, 270),  # the four before the newest have as many bytes
        (range(3, 5), 69, 3, 69 + 80),
        (range(4, 5), 1, None, 80),  # the newest is needed in any case
        (range(4, 4), 1, None, 0),
        (range(0, 5), None, None, 270),
    ],
)
def test_it_is_taken_where_it_is_less_than_the_states_before_the_newest(
    lacked: range, checkpoint: int | None, last: int | None, size: int
) -> None:
    assert replaced(lacked, SIZES.__getitem__, checkpoint) == last
    assert catch_up_bytes(lacked, SIZES.__getitem__, checkpoint) == size
