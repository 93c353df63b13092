"""The global model of any round: the same bits, whatever is or is not on the disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedkrso_core.global_model import GlobalModel, StateRef
from fedkrso_core.methods import METHODS
from fedkrso_core.models import weights_of
from fedkrso_core.payload import Payload, digest, encode, tensors_sha256
from fedkrso_core.workload import Workload

Federations = Callable[..., Any]


def ref(payload: Payload) -> StateRef:
    return StateRef(digest(encode(payload)), lambda: payload)


@pytest.fixture
def played(federation: Federations) -> Any:
    """A FedKRSO job after three rounds."""
    fed = federation(local={"steps": 2, "weight_decay": 0.1})
    fed.play(3)
    return fed


def bits(model: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in weights_of(model).items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_training_starts_from_the_very_same_bits(federation: Federations) -> None:
    for name in ("fedkrso", "fedavg"):
        fed = federation(method={"name": name})
        before = bits(fed.model)
        fed.train(0)
        assert not same(before, bits(fed.model))
        fed.work.global_model.for_training([ref(fed.states[0])])
        assert same(before, bits(fed.model))


def test_any_earlier_round_can_be_put_together_again(played: Any) -> None:
    chain = [ref(state) for state in played.states]
    model = played.work.global_model
    shas = [(model.materialize(chain[:n]), model.sha256())[1] for n in (1, 2, 3, 4)]
    assert len(set(shas)) == 4
    backwards = [(model.materialize(chain[:n]), model.sha256())[1] for n in (4, 3, 2, 1)]
    assert backwards[::-1] == shas


def test_the_journal_equals_its_states_put_in_one_by_one(
    played: Any, federation: Federations
) -> None:
    by_hand = federation(local={"steps": 2, "weight_decay": 0.1})
    for state in played.states:
        by_hand.method.materialize(by_hand.config, by_hand.model, state)
    assert same(by_hand.weights(), played.global_weights())


def test_a_latecomer_without_snapshots_gets_the_same_bits(
    played: Any, federation: Federations
) -> None:
    latecomer = federation(local={"steps": 2, "weight_decay": 0.1})
    latecomer.states = played.states
    assert same(latecomer.global_weights(), played.global_weights())


def test_snapshots_removed_by_another_process_are_survived(played: Any, tmp_path: Path) -> None:
    before = played.global_weights()
    snapshots = list(tmp_path.glob("**/round-*.safetensors"))
    assert snapshots
    for path in snapshots:
        path.unlink()
    assert same(before, played.global_weights())


def test_two_processes_may_share_a_folder(played: Any, tmp_path: Path) -> None:
    (folder,) = {path.parent for path in tmp_path.glob("**/round-*.safetensors")}
    other = Workload(played.job, folder, torch.device("cpu")).global_model
    other.materialize([ref(state) for state in played.states])
    assert same(bits(other.model), played.global_weights())


def test_few_snapshots_are_kept_and_nothing_half_written(played: Any, tmp_path: Path) -> None:
    played.global_weights()
    assert len(list(tmp_path.glob("**/base-*.safetensors"))) == 1
    assert len(list(tmp_path.glob("**/round-*.safetensors"))) <= 2
    assert not list(tmp_path.glob("**/*.part"))


def test_a_snapshot_spares_fetching_the_states_before_it(played: Any) -> None:
    played.global_weights()
    fetched: list[int] = []

    def noting(number: int) -> StateRef:
        state = played.states[number]
        fetch = lambda: (fetched.append(number), state)[1]  # noqa: E731
        return StateRef(digest(encode(state)), fetch)

    played.work.global_model.materialize([noting(n) for n in range(4)])
    assert fetched == []


def test_without_a_journal_the_last_state_alone_counts(federation: Federations) -> None:
    fed = federation(method={"name": "fedavg"}, local={"steps": 2})
    fed.play(2)
    fed.work.global_model.materialize([ref(fed.states[2])])
    assert same(fed.weights(), fed.global_weights())


def test_the_digest_is_that_of_the_weights(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    own = GlobalModel(METHODS["fedavg"], None, model, tmp_path / "dense")
    assert own.sha256() == tensors_sha256({"bias": model.bias, "weight": model.weight})
    before = own.sha256()
    model.bias.data += 1
    assert own.sha256() != before
