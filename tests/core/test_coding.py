"""Updates with fewer bits: what arrives, over many rounds, is what was sent."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fedkrso_core.coding import float_shapes, incoming, outgoing
from fedkrso_core.engine import participants
from fedkrso_core.errors import PayloadError
from fedkrso_core.expect import check_upload
from fedkrso_core.method import Client, Update, pack, unpack
from fedkrso_core.methods import METHODS
from fedkrso_core.payload import Payload, decode, encode
from fedkrso_core.simulate import run
from fedkrso_core.spec import JobSpec, LocalSpec
from fedkrso_core.wire import restore
from fedkrso_core.wire_spec import WireDtype, WireSpec

Jobs = Callable[..., JobSpec]
Make = Callable[..., Any]
LEARNING = {"steps": 10, "batch_size": 8, "lr": 1e-2}
LOSSY: list[WireDtype] = ["bf16", "int8", "int4"]


def client_of(number: int) -> Client:
    return Client(3, number, 7, LocalSpec(), 10, lambda: iter(()))


def through(wire: WireSpec, rounds: int, x: Tensor, reference: dict[str, Tensor]) -> list[Tensor]:
    """What arrives when a client sends the same x in each round."""
    memory, arrived = Payload(), []
    for number in range(1, rounds + 1):
        update = Update(Payload({"x": x}), 10, {})
        sent = outgoing(wire, update, client_of(number), memory, reference)
        memory = sent.memory
        got = incoming(wire.dtype, unpack(pack(sent)), {"x": tuple(x.shape)}, reference)
        arrived.append(got.upload.tensors["x"])
    return arrived


def skewed(*shape: int) -> Tensor:
    """Numbers that rounding to the nearest gets wrong in the same way each time."""
    x = torch.full(shape, 0.011)
    x[0] = 1.0
    return x


@pytest.mark.parametrize("dtype", ["int8", "int4"])
@pytest.mark.parametrize("start", [0.0, 0.5])
def test_error_feedback_makes_the_sum_of_many_rounds_that_of_what_was_sent(
    dtype: WireDtype, start: float
) -> None:
    x, rounds = skewed(32, 2), 200
    reference = {"x": torch.full((32, 2), start)}
    step = float((x - start).abs().max()) / {"int8": 127, "int4": 7}[dtype]
    mean = torch.stack(through(WireSpec(dtype=dtype), rounds, x, reference)).mean(0)
    # the sum is off by no more than the last error, which is below a step
    assert (mean - x).abs().max() <= 1.1 * step / rounds
    nearest = WireSpec(dtype=dtype, error_feedback=False)
    without = torch.stack(through(nearest, rounds, x, reference)).mean(0)
    assert (without - x).abs().max() > 10 * step / rounds


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_what_belongs_to_its_round_alone_is_right_on_average(dtype: WireDtype) -> None:
    x, rounds = skewed(32, 2), 1500
    arrived = through(WireSpec(dtype=dtype), rounds, x, {})
    step = {"int8": 127, "int4": 7}[dtype] ** -1
    assert (torch.stack(arrived).mean(0) - x).abs().max() < 5 * 0.5 * step / rounds**0.5
    again = through(WireSpec(dtype=dtype), 2, x, {})
    assert all(torch.equal(a, b) for a, b in zip(again, arrived, strict=False))
    assert not torch.equal(*again)


def test_bits_are_spent_on_the_change_alone() -> None:
    start = torch.linspace(-3, 3, 64)
    x = start + torch.linspace(-1e-4, 1e-4, 64)
    (arrived,) = through(WireSpec(dtype="int8"), 1, x, {"x": start})
    assert (arrived - x).abs().max() < 1e-6
    (plain,) = through(WireSpec(dtype="int8", error_feedback=False), 1, x, {})
    assert (plain - x).abs().max() > 1e-3


def test_nothing_is_kept_of_what_has_no_next_round() -> None:
    update = Update(Payload({"x": skewed(4, 2)}), 10, {}, Payload({"own": torch.ones(1)}))
    for wire in (WireSpec(dtype="int4"), WireSpec(dtype="int4", error_feedback=False)):
        sent = outgoing(wire, update, client_of(1), Payload(), {})
        assert set(sent.memory.tensors) == {"own"}


@pytest.mark.parametrize("dtype", LOSSY)
@pytest.mark.parametrize("name", ["fedkrso", "fedavg", "fedit", "ffa_lora", "fed_sb", "fedsa_lora"])
def test_a_method_gets_its_update_back_up_to_rounding(
    federation: Make, name: str, dtype: WireDtype, tmp_path: Path
) -> None:
    """And what it does not have to know: shapes, checks, the memory that it keeps itself."""
    changes: dict[str, Any] = {"method": {"name": name}, "local": {"steps": 4, "lr": 1e-3}}
    plain, coded = federation(**changes), federation(**changes, wire={"dtype": dtype})
    plain.play(1)
    coded.go_on_from(plain)
    exact, sent = plain.train(1), coded.train(1)
    expected = coded.method.expect(coded.config, coded.model, coded.states[-1])
    (tmp_path / "update").write_bytes(pack(sent))
    check_upload(tmp_path / "update", expected, coded.sizes[1])
    state, near = coded.aggregate_late({1: (sent, 2)}), plain.aggregate_late({1: (exact, 2)})
    before = plain.method.reference(
        plain.config, plain.work.global_model.untrained(), plain.states[-1]
    )
    for tensor, value in near.tensors.items():
        change = value - before[tensor].detach() if tensor in before else value
        step = {"bf16": 2**-8, "int8": 1 / 127, "int4": 1 / 7}[dtype]
        off = (state.tensors[tensor] - value).abs().max()
        assert off <= 1.01 * step * change.abs().max() + 1e-7, tensor


@pytest.mark.parametrize("dtype", LOSSY)
def test_the_tiny_problem_is_learnt_with_fewer_bits(
    job: Jobs, tmp_path: Path, dtype: WireDtype
) -> None:
    summary = run(job(local=LEARNING, rounds=3, wire={"dtype": dtype}), tmp_path)
    assert summary["metrics"]["accuracy"] > 0.6


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_the_same_job_gives_the_same_bits(job: Jobs, tmp_path: Path, compression: str) -> None:
    spec = job(wire={"dtype": "int4", "compression": compression}, clients={"per_round": 2})
    one, other = (run(spec, tmp_path / name) for name in ("one", "other"))
    assert one["model_sha256"] == other["model_sha256"]


def test_compression_changes_no_number(job: Jobs, tmp_path: Path) -> None:
    plain, packed = (
        run(job(wire={"dtype": "int8", "compression": c}), tmp_path / c) for c in ("none", "zstd")
    )
    assert plain["model_sha256"] == packed["model_sha256"]
    assert packed["totals"]["bytes_up"] < plain["totals"]["bytes_up"]


def test_rebased_updates_have_their_numbers_back_first(job: Jobs, tmp_path: Path) -> None:
    rounds = {"count": 4, "mode": "buffered", "buffer": 1}
    for method in ("fedkrso", "fedit"):
        exact, coded = (
            run(job(rounds=rounds, method={"name": method}, wire=wire), tmp_path / method)
            for wire in ({}, {"dtype": "int8"})
        )
        assert coded["metrics"]["loss"] == pytest.approx(exact["metrics"]["loss"], rel=0.01)


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), -1.0, 3e38])
@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_scales_that_are_no_scales_are_refused(
    federation: Make, tmp_path: Path, dtype: WireDtype, scale: float
) -> None:
    fed = federation(wire={"dtype": dtype})
    update = fed.train(0)
    tensors = {n: t.clone() for n, t in update.upload.tensors.items()}
    name = sorted(tensors)[-1]
    tensors[name][:4] = torch.tensor([scale]).view(torch.uint8)
    path = tmp_path / "update"
    path.write_bytes(pack(replace(update, upload=replace(update.upload, tensors=tensors))))
    expected = fed.method.expect(fed.config, fed.model, fed.states[-1])
    with pytest.raises(PayloadError, match="scales that are negative, NaN or infinite"):
        check_upload(path, expected)


def test_another_form_than_the_jobs_is_refused(federation: Make, tmp_path: Path) -> None:
    feds = {d: federation(wire={"dtype": d}) for d in ("fp32", "bf16", "int8", "int4")}
    for own, fed in feds.items():
        expected = fed.method.expect(fed.config, fed.model, fed.states[-1])
        for other in feds.keys() - {own}:
            path = tmp_path / f"{own}-{other}"
            path.write_bytes(pack(feds[other].train(0)))
            with pytest.raises(PayloadError, match="expected"):
                check_upload(path, expected)


def test_a_claim_to_be_another_form_is_refused(federation: Make, tmp_path: Path) -> None:
    fed = federation(wire={"dtype": "int8"})
    upload = fed.train(0).upload
    (tmp_path / "update").write_bytes(
        encode(replace(upload, scalars={**upload.scalars, "wire": "int4"}))
    )
    expected = fed.method.expect(fed.config, fed.model, fed.states[-1])
    with pytest.raises(PayloadError, match="'wire' is 'int4'; expected 'int8'"):
        check_upload(tmp_path / "update", expected)


@pytest.mark.parametrize("dtype", LOSSY)
def test_the_bound_on_the_norm_is_on_the_numbers_that_codes_stand_for(
    federation: Make, tmp_path: Path, dtype: WireDtype
) -> None:
    fed = federation(wire={"dtype": dtype}, method={"name": "fedkrso", "rank": 3})
    sent = fed.train(0)
    expected = fed.method.expect(fed.config, fed.model, fed.states[-1])
    numbers = restore(sent.upload, dtype, float_shapes(expected)).tensors.values()
    norm = float(sum(t.double().square().sum() for t in numbers)) ** 0.5
    (tmp_path / "update").write_bytes(pack(sent))
    check_upload(tmp_path / "update", expected, max_norm=norm * 1.0001)
    with pytest.raises(PayloadError, match="the update's norm is"):
        check_upload(tmp_path / "update", expected, max_norm=norm * 0.9999)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_updates_with_fewer_bits(
    federation: Make, tmp_path: Path, name: str
) -> None:
    """Personal ones and those whose shapes vary too; what clients keep themselves stays theirs."""
    fed = federation(method={"name": name}, local={"steps": 2}, wire={"dtype": "int8"})
    for number in (1, 2):
        updates = {}
        chosen = participants(fed.method, fed.config, fed.job, fed.states[-1], number)
        for client in chosen:
            updates[client] = fed.train(client)
            path = tmp_path / f"{number}-{client}"
            path.write_bytes(pack(updates[client]))
            expected = fed.method.expect(fed.config, fed.model, fed.states[-1])
            check_upload(path, expected.of_client(client), fed.sizes[client])
        late = {client: (update, number) for client, update in updates.items()}
        state = decode(encode(fed.aggregate_late(late)))
        assert all(torch.isfinite(t.double()).all() for t in state.tensors.values())
        fed.states.append(state)
        fed.memories |= {client: update.memory for client, update in updates.items()}


@pytest.mark.parametrize("schedule", ["per-client", "shared"])
@pytest.mark.parametrize("options", [
    {},
    {"wire": {"dtype": "int4", "compression": "zstd"}},
    {"local_head": True},
    {"local_head": True, "wire": {"dtype": "int8"}},
    {"weighting": "uniform"},
], ids=str)  # fmt: skip
def test_fedkrso_sends_the_accumulators_of_the_seeds_that_it_used_and_no_other(
    federation: Make, schedule: str, options: dict[str, Any]
) -> None:
    method = {"name": "fedkrso", "seeds": 8, "interval": 2, "schedule": schedule}
    fed = federation(method=method, local={"steps": 6}, **options)
    used: set[str] = set()
    for client in range(3):
        sent = {n.split("/")[1] for n in fed.train(client).upload.tensors if n.startswith("A/")}
        who = fed.work._client(client, 1, lambda _: None)
        assert sent == set(fed.method.sends(fed.config, who))
        assert 1 <= len(sent) <= 3  # three intervals
        used |= sent
    updates = {client: (fed.train(client), 1) for client in range(3)}
    state = fed.aggregate_late(updates)
    assert {n.split("/")[1] for n in state.tensors if n.startswith("A/")} == used
