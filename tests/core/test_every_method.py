"""What every method of the registry must do. A new method is tested here without a line more;
it only has its rows in `rows.py`."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import fedkrso_core.methods
from fedkrso_core.errors import PayloadError
from fedkrso_core.expect import check_upload
from fedkrso_core.method import Update, pack
from fedkrso_core.methods import METHODS
from fedkrso_core.models import shapes_only
from fedkrso_core.ops.targets import head_names, target_linears
from fedkrso_core.payload import Payload, decode, encode
from tests.core.rows import ROWS, Row, Sizes

Make = Callable[..., Any]
FILES: dict[str, Any] = {name: sys.modules[f"fedkrso_core.methods.{name}"] for name in METHODS}


def those(kind: Callable[[Row], bool]) -> list[str]:
    return [name for name, row in ROWS.items() if kind(row)]


@pytest.fixture(params=METHODS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fed(name: str, federation: Make) -> Any:
    """A job of three unequal clients after its first round, so that there is something to send."""
    made = federation(method={"name": name}, local={"steps": 4})
    made.play(1)
    return made


def updates_of(fed: Any) -> dict[int, Update]:
    return {client: fed.train(client) for client in range(3)}


def same(one: Payload, other: Payload) -> bool:
    return encode(one) == encode(other)


def test_every_file_of_methods_is_in_the_registry() -> None:
    folder = Path(fedkrso_core.methods.__file__).parent
    assert sorted(METHODS) == sorted(f.stem for f in folder.glob("*.py") if f.stem != "__init__")


def test_the_method_has_the_name_of_its_file(name: str) -> None:
    method = METHODS[name]
    assert (method.name, FILES[name].METHOD) == (name, method)
    assert method.title
    assert method.paper in FILES[name].__doc__


def test_its_config_survives_json(name: str) -> None:
    config = METHODS[name].Config()
    assert METHODS[name].Config.model_validate_json(config.model_dump_json()) == config


def test_its_options_have_defaults_and_descriptions(name: str) -> None:
    schema = METHODS[name].Config.model_json_schema()
    assert not schema.get("required")
    for option, field in schema.get("properties", {}).items():
        assert field.get("description"), option


def test_its_config_refuses_unknown_options(name: str) -> None:
    with pytest.raises(ValueError, match="extra"):
        METHODS[name].Config(no_such_option=1)


def test_its_states_and_uploads_survive_the_codec(fed: Any) -> None:
    update = fed.train(1)
    for payload in (*fed.states, fed.aggregate({1: update}), update.upload):
        again = decode(encode(payload))
        assert again.scalars == json.loads(json.dumps(payload.scalars))
        assert same(again, payload)


def test_the_same_seed_gives_the_same_bytes(fed: Any, name: str, federation: Make) -> None:
    first = pack(fed.train(1))
    assert pack(fed.train(1)) == first
    again = federation(method={"name": name}, local={"steps": 4})
    again.go_on_from(fed)
    assert pack(again.train(1)) == first


def test_the_order_of_training_does_not_matter(fed: Any) -> None:
    forwards = updates_of(fed)
    backwards = {client: fed.train(client) for client in (2, 1, 0)}
    assert all(pack(forwards[client]) == pack(backwards[client]) for client in range(3))


def test_another_job_seed_gives_other_bytes(name: str, federation: Make) -> None:
    one, other = (federation(method={"name": name}, seed=seed).train(0) for seed in (1, 2))
    assert pack(one) != pack(other)


def test_training_leaves_the_models_modules_as_they_were(fed: Any) -> None:
    before = {path: id(module) for path, module in fed.model.named_modules()}
    fed.train(0)
    assert {path: id(module) for path, module in fed.model.named_modules()} == before


def test_training_leaves_no_gradients_behind(fed: Any) -> None:
    fed.train(0)
    assert all(parameter.grad is None for parameter in fed.model.parameters())


def test_every_step_is_told(fed: Any) -> None:
    told: list[int] = []
    fed.train(0, told.append)
    assert list(dict.fromkeys(told)) == [1, 2, 3, 4]  # the last again while it measures its model


def test_its_uploads_are_as_expected(fed: Any, tmp_path: Path) -> None:
    expected = fed.method.expect(fed.config, fed.model, fed.states[-1])
    for client in range(3):
        path = tmp_path / f"upload-{client}"
        path.write_bytes(pack(fed.train(client)))
        check_upload(path, expected, fed.sizes[client])


def test_what_it_expects_survives_json(fed: Any) -> None:
    expected = fed.method.expect(fed.config, fed.model, fed.states[-1])
    assert type(expected).model_validate(expected.model_dump(mode="json")) == expected


def test_what_it_expects_needs_no_weights(fed: Any) -> None:
    shapes = shapes_only(fed.job.model, ("animals", "tools", "weather"))
    expected = fed.method.expect(fed.config, shapes, fed.states[-1])
    assert expected == fed.method.expect(fed.config, fed.model, fed.states[-1])


def test_an_upload_with_a_tensor_less_is_refused(fed: Any, tmp_path: Path) -> None:
    expected = fed.method.expect(fed.config, fed.model, fed.states[-1])
    update = fed.train(0)
    for lost in list(update.upload.tensors)[::7]:
        rest = {n: t for n, t in update.upload.tensors.items() if n != lost}
        path = tmp_path / "upload"
        path.write_bytes(encode(replace(update.upload, tensors=rest)))
        with pytest.raises(PayloadError, match="the update lacks 1 tensors"):
            check_upload(path, expected)


@pytest.mark.parametrize("junk", [None, "junk", -1e30, [1], {}], ids=repr)
def test_an_upload_with_junk_for_a_scalar_is_refused(fed: Any, tmp_path: Path, junk: Any) -> None:
    """What the door lets in must not break or poison the aggregation of everybody's round."""
    expected = fed.method.expect(fed.config, fed.model, fed.states[-1])
    upload, path = fed.train(0).upload, tmp_path / "upload"
    for scalar in set(upload.scalars) - {"metrics"}:  # those are read by people alone
        path.write_bytes(encode(replace(upload, scalars={**upload.scalars, scalar: junk})))
        with pytest.raises(PayloadError, match=re.escape(scalar)):
            check_upload(path, expected)


def test_the_order_of_arrival_does_not_matter(fed: Any) -> None:
    updates = updates_of(fed)
    arrived = {client: updates[client] for client in (2, 0, 1)}
    assert same(fed.aggregate(arrived), fed.aggregate(updates))


def test_the_order_of_clients_matters_only_in_the_last_bit(fed: Any) -> None:
    updates = updates_of(fed)
    one = fed.aggregate(updates)
    backwards = [fed.taken(updates[c]) for c in (2, 0, 1)]
    other = fed.method.aggregate(fed.config, fed.states[-1], backwards)
    assert one.scalars.keys() == other.scalars.keys()
    assert largest_difference(fed.weights_after(one), fed.weights_after(other)) < 1e-6


def test_aggregating_twice_is_the_same(fed: Any) -> None:
    updates = updates_of(fed)
    assert same(fed.aggregate(updates), fed.aggregate(updates))


@pytest.mark.parametrize("name", those(lambda row: row.means))
def test_a_missing_client_only_reweights(fed: Any) -> None:
    updates = updates_of(fed)
    del updates[1]
    state, (n0, n2) = fed.aggregate(updates), (fed.sizes[0], fed.sizes[2])
    updates = {client: fed.taken(update) for client, update in updates.items()}
    for tensor, value in state.tensors.items():
        zero = torch.zeros_like(value)  # a tensor that a client did not send counts as zero
        parts = [updates[c].upload.tensors.get(tensor, zero).double() for c in (0, 2)]
        mean = (n0 * parts[0] + n2 * parts[1]) / (n0 + n2)
        assert torch.allclose(value.double(), mean, atol=1e-6)


@pytest.mark.parametrize("name", those(lambda row: row.exact))
@pytest.mark.parametrize("clients", [(0, 1, 2), (0, 2)], ids=["all", "one missing"])
def test_the_model_changes_by_the_mean_of_what_the_clients_changed(
    fed: Any, clients: tuple[int, ...]
) -> None:
    updates, sizes = updates_of(fed), [fed.sizes[c] for c in clients]
    own = [fed.weights_after(fed.aggregate({c: updates[c]})) for c in clients]
    mean = {
        name: sum(n * one[name].double() for n, one in zip(sizes, own, strict=True)) / sum(sizes)
        for name in own[0]
    }
    together = fed.weights_after(fed.aggregate({c: updates[c] for c in clients}))
    assert max((together[n] - mean[n]).abs().max().item() for n in mean) < 1e-5


def test_a_method_is_exact_or_says_so(name: str) -> None:
    said = FILES[name].__doc__
    assert ROWS[name].exact or "inexact" in said


@pytest.mark.parametrize("name", those(lambda row: row.ends_in_its_weights))
def test_a_single_clients_update_gives_its_own_weights(fed: Any) -> None:
    update = fed.train(2)
    own = fed.weights()
    fed.close({2: update})
    rebuilt = fed.global_weights()
    assert largest_difference(own, rebuilt) < 1e-6


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max((one[n] - other[n]).abs().max().item() for n in one)


def model_of(fed: Any) -> dict[str, Tensor]:
    """The global model, or where models are personal that of a client."""
    weights: dict[str, Tensor] = (
        fed.own_weights(2) if fed.method.is_personal else fed.global_weights()
    )
    return weights


def test_a_round_changes_the_model(fed: Any) -> None:
    before = model_of(fed)
    fed.play(1)
    assert largest_difference(before, model_of(fed)) > 1e-4


def test_training_goes_on_from_the_model(fed: Any, name: str, federation: Make) -> None:
    """A round at a vanishing rate changes nothing, so it began where the last one ended."""
    still = {"steps": 1, "lr": 1e-30, "optimizer": "sgd"}
    idle = federation(method={"name": name}, local=still)
    idle.go_on_from(fed)
    idle.play(1)
    assert largest_difference(model_of(idle), model_of(fed)) < 1e-6


def test_the_first_state_is_the_base_model(name: str, federation: Make) -> None:
    made = federation(method={"name": name})
    base = made.weights()
    assert largest_difference(base, made.global_weights()) == 0.0
    assert made.states[0].tensors == {}


def test_the_bytes_of_its_upload_are_its_docstrings(fed: Any, name: str) -> None:
    tensors = fed.train(0).upload.tensors
    layers = target_linears(fed.model, "all-linear").values()
    counts = {n: p.numel() for n, p in fed.model.named_parameters()}
    sizes = Sizes(
        config=fed.config,
        shapes=[tuple(layer.weight.shape) for layer in layers],
        head=sum(counts[n] for n in head_names(fed.model)),
        everything=sum(counts.values()),
        used=len({n.split("/")[1] for n in tensors if n.startswith("A/")}),
        parameters=counts,
    )
    assert sum(tensor.nbytes for tensor in tensors.values()) == ROWS[name].upload_bytes(sizes)


def test_its_clients_are_as_many_as_asked(fed: Any) -> None:
    def chosen(seed: int) -> list[int]:
        rng = np.random.default_rng(seed)
        return fed.method.select(fed.config, fed.states[-1], range(20), 7, rng)

    assert len(set(chosen(0))) == len(chosen(0)) == 7
    assert set(chosen(0)) <= set(range(20))
    assert chosen(0) == chosen(0)


def test_the_tiny_problem_is_learnt(name: str, federation: Make) -> None:
    row, local = ROWS[name], {"batch_size": 8, "lr": ROWS[name].lr}
    local |= {"steps": row.steps, "head_lr": None if row.only_losses else 1e-2}
    made = federation(method={"name": name}, local=local)
    who = 2 if made.method.is_personal else None
    losses = [made.loss(who)]
    for _ in range(4):
        made.play()
        losses.append(made.loss(who))
    assert losses[-1] < row.share * losses[0], losses
