"""The forecast of bytes is what jobs really send, for every method."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedkrso_core import engine
from fedkrso_core.checkpoint import catch_up_bytes
from fedkrso_core.estimate.batch import Batch
from fedkrso_core.estimate.rehearsal import Rehearser
from fedkrso_core.estimate.traffic import Exchange, Visit
from fedkrso_core.forecast import Forecasts
from fedkrso_core.method import pack
from fedkrso_core.methods import METHODS
from fedkrso_core.models import config_of, from_config, shapes_only
from fedkrso_core.payload import encode
from fedkrso_core.simulate import run
from fedkrso_core.spec import JobSpec

PARTIAL = {"rounds": 5, "clients": {"count": 3, "per_round": 2}, "local": {"steps": 3}}
BUFFERED: dict[str, Any] = {
    "rounds": {"count": 5, "mode": "buffered", "buffer": 1},
    "clients": {"count": 3, "per_round": 3},
    "local": {"steps": 3},
}
VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {"name": name} for name in METHODS},
    "ranks": {"name": "flora", "ranks": [2, 4], "rank": 4},
    "few columns": {"name": "flexlora", "ranks": [1, 3], "server_rank": 5},
    "few layers": {"name": "fedit", "targets": ["query", "value"], "rank": 2},
    "shared": {"name": "fedkrso", "schedule": "shared", "interval": 1},
    "many seeds": {"name": "fedkrso", "seeds": 30, "interval": 1},
    "one seed": {"name": "fedkrso", "seeds": 1, "interval": 100},
    "dense": {"name": "fedkrso", "train_norm_bias": True, "interval": 2},
}


def within(forecast: int, real: int, rounds: int = 1) -> bool:
    """The digits of what a client measures are not foreseen: a few bytes in each upload."""
    return abs(forecast - real) <= max(0.001 * real, 64 * rounds)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_forecast_is_what_a_job_sends(
    forecast: Callable[..., Forecasts],
    job: Callable[..., JobSpec],
    tmp_path: Path,
    variant: str,
) -> None:
    changes = {**PARTIAL, "method": VARIANTS[variant]}
    totals = run(job(**changes), tmp_path)["totals"]
    records = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    traffic = forecast(**changes).forecasts[0].traffic
    assert traffic is not None
    for planned, record in zip(traffic.rounds, records, strict=True):
        assert (planned.round, planned.clients) == (record["round"], len(record["clients"]))
        assert within(planned.bytes_up, record["bytes_up"])
        assert within(planned.bytes_down, record["bytes_down"])
    assert within(traffic.bytes_up, totals["bytes_up"], len(records))
    assert within(traffic.bytes_down, totals["bytes_down"])
    assert traffic.bytes_up_per_client == round(traffic.bytes_up / 10)


@pytest.mark.parametrize("changes", [
    *({"wire": {"dtype": dtype}} for dtype in ("bf16", "int8", "int4")),
    {"wire": {"download": "int8"}},
    {"wire": {"dtype": "int4", "download": "int4"}, "method": VARIANTS["shared"]},
    {"wire": {"dtype": "int8"}, "method": {"name": "fedavg"}},
    {"wire": {"dtype": "int4"}, "method": {"name": "fedit", "rank": 3}},
    {"wire": {"dtype": "int8"}, "method": {"name": "rolora"}},
    {"wire": {"dtype": "int4"}, "method": {"name": "flora", "ranks": [2, 3, 4]}},
    {"local_head": True},
    {"local_head": True, "evaluate": {"every": 2}, "wire": {"dtype": "int8"}},
], ids=str)  # fmt: skip
def test_the_forecast_is_what_a_job_with_options_sends(
    forecast: Callable[..., Forecasts],
    job: Callable[..., JobSpec],
    tmp_path: Path,
    changes: dict[str, Any],
) -> None:
    run(job(**PARTIAL, **changes), tmp_path)
    records = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    traffic = forecast(**PARTIAL, **changes).forecasts[0].traffic
    assert traffic is not None
    for planned, record in zip(traffic.rounds, records, strict=True):
        # the digits of reported numbers weigh more in uploads of a few thousand bytes
        digits = 200 if "local_head" in changes else 32
        assert abs(planned.bytes_up - record["bytes_up"]) <= digits + 0.001 * record["bytes_up"]
        assert within(planned.bytes_down, record["bytes_down"])


def test_with_zstd_the_forecast_is_an_upper_limit(
    forecast: Callable[..., Forecasts], job: Callable[..., JobSpec], tmp_path: Path
) -> None:
    changes: dict[str, Any] = {**PARTIAL, "wire": {"dtype": "int8", "compression": "zstd"}}
    totals = run(job(**changes), tmp_path)["totals"]
    traffic = forecast(**changes).forecasts[0].traffic
    assert traffic is not None
    assert traffic.compressed
    assert 0.5 * traffic.bytes_up < totals["bytes_up"] < traffic.bytes_up


@pytest.mark.parametrize("method", ["fedkrso", "one seed", "fedavg", "fedit", "ranks"])
def test_the_forecast_is_what_a_buffered_run_sends(
    forecast: Callable[..., Forecasts], job: Callable[..., JobSpec], tmp_path: Path, method: str
) -> None:
    changes = {**BUFFERED, "method": VARIANTS[method]}
    run(job(**changes), tmp_path)
    records = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    traffic = forecast(**changes).forecasts[0].traffic
    assert traffic is not None
    assert not traffic.exact
    for planned, record in zip(traffic.rounds, records, strict=True):
        assert planned.clients == len(record["clients"]) == 1
        assert planned.bytes_up == pytest.approx(record["bytes_up"], rel=0.001)
        assert planned.bytes_down == pytest.approx(record["bytes_down"], rel=0.001)


def test_decay_changes_only_digits(
    forecast: Callable[..., Forecasts], job: Callable[..., JobSpec], tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"local": {"weight_decay": 0.01, "schedule": "cosine"}}
    totals = run(job(**changes), tmp_path)["totals"]
    traffic = forecast(**changes).forecasts[0].traffic
    assert traffic is not None
    assert within(traffic.bytes_up, totals["bytes_up"])
    assert within(traffic.bytes_down, totals["bytes_down"])


def visits_of(spec: JobSpec, num_examples: list[int]) -> list[list[Visit]]:
    method = METHODS[spec.method.name]
    config, labels = method.Config(**spec.method.options), ("a", "b", "c")
    rehearser = Rehearser(lambda: from_config(config_of(spec.model, labels)))
    sample = rehearser.play(method, config, spec.local, Batch(4, 8)).update
    model = shapes_only(spec.model, labels)
    return Exchange(method, config, spec, model, num_examples, sample).visits()


@pytest.mark.parametrize("name", ["fedkrso", "fedit"])
def test_each_client_is_forecast(
    federation: Callable[..., Any], job: Callable[..., JobSpec], name: str
) -> None:
    changes = {
        **PARTIAL,
        "method": {"name": name, **({"interval": 1} if name == "fedkrso" else {})},
    }
    fed, spec = federation(**changes), job(**changes)
    have: dict[int, int] = {}
    for number, visits in enumerate(visits_of(spec, fed.sizes), 1):
        clients = engine.participants(fed.method, fed.config, spec, fed.states[-1], number)
        assert [visit.client for visit in visits] == clients
        updates = {client: fed.train(client) for client in clients}
        for visit in visits:
            upload = updates[visit.client].upload
            held = sum(tensor.nbytes for tensor in upload.tensors.values())
            lacked = engine.lacking(fed.method, fed.config, have.get(visit.client), number)
            assert within(visit.bytes_up, len(pack(updates[visit.client])))
            assert visit.held_up == held
            sizes = [len(encode(state)) for state in fed.states]
            down = catch_up_bytes(lacked, sizes.__getitem__, fed.work.checkpoint_bytes)
            assert within(visit.bytes_down, down)
            have[visit.client] = number - 1
        fed.close(updates)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_sends_the_groups_that_it_says(federation: Callable[..., Any], name: str) -> None:
    fed = federation(method={"name": name})
    expected = fed.method.expect(fed.config, fed.model, fed.states[-1])
    client = fed.work._client(1, 1, lambda _: None)
    said = {
        t
        for group in fed.method.sends(fed.config, client)
        for t in expected.optional[group].tensors
    }
    sent = set(fed.train(1).upload.tensors)
    assert sent == said | set(expected.required.tensors)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.varies])
def test_what_is_expected_has_the_same_shapes_in_each_round(
    federation: Callable[..., Any], name: str
) -> None:
    fed = federation(method={"name": name})
    fed.play(2)
    first, last = (fed.method.expect(fed.config, fed.model, fed.states[t]) for t in (0, 2))
    assert first.required.tensors == last.required.tensors
    assert {k: g.tensors for k, g in first.optional.items()} == {
        k: g.tensors for k, g in last.optional.items()
    }


LATE: dict[str, dict[str, Any]] = {
    "fedkrso": {"name": "fedkrso", "rank": 8, "seeds": 30, "interval": 1},
    "flora": {"name": "flora", "rank": 16},
    "too small to pay": {"name": "fedkrso", "rank": 1, "seeds": 1},
}


@pytest.mark.parametrize("variant", LATE)
def test_the_forecast_knows_who_takes_a_checkpoint(
    forecast: Callable[..., Forecasts],
    job: Callable[..., JobSpec],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variant: str,
) -> None:
    clients = {"count": 6, "per_round": 1}
    changes = {"rounds": 6, "clients": clients, "partition": {"kind": "iid"}, "local": {"steps": 3}}
    changes["method"] = LATE[variant]
    run(job(**changes), tmp_path / "run")
    lines = (tmp_path / "run/rounds.jsonl").read_text().splitlines()
    down = [json.loads(line)["bytes_down"] for line in lines]
    traffic = forecast(**changes).forecasts[0].traffic
    assert traffic is not None
    for planned, real in zip(traffic.rounds, down, strict=True):
        assert within(planned.bytes_down, real)
    states = METHODS[LATE[variant]["name"]]
    monkeypatch.setitem(METHODS, states.name, replace(states, changes=None))
    without = forecast(**changes).forecasts[0].traffic
    assert without is not None
    pays = variant != "too small to pay"
    assert (traffic.bytes_down < without.bytes_down) == pays
    assert (traffic.bytes_down == without.bytes_down) != pays
