"""Virtual time, and buffered jobs that are run in it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedkrso_core.check import check
from fedkrso_core.errors import SpecError
from fedkrso_core.rounds_spec import RoundsSpec
from fedkrso_core.simulate import run
from fedkrso_core.spec import JobSpec
from fedkrso_core.virtual import VirtualRounds, Visit, drawn

Make = Callable[..., JobSpec]
BUFFERED: dict[str, Any] = {
    "rounds": {"count": 5, "mode": "buffered", "buffer": 1},
    "clients": {"count": 3, "per_round": 3},
    "local": {"steps": 3},
}


def slow(client: int) -> Callable[[int, int], float]:
    return lambda who, _: 5.0 if who == client else 1.0 + who / 10


def ledger(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


def test_a_buffered_round_counts_whoever_is_done_first(job: Make) -> None:
    clock = VirtualRounds(job(rounds={"mode": "buffered", "buffer": 2}), slow(1))
    clock.begin(1, [0, 1, 2])
    assert (clock.close(), clock.now) == ([Visit(0, 1), Visit(2, 1)], 1.2)
    assert clock.working == {1}
    clock.begin(2, [0, 2])
    assert clock.close() == [Visit(0, 2), Visit(2, 2)]
    clock.begin(3, [0, 2])
    clock.close()
    clock.begin(4, [0, 2])
    clock.close()
    clock.begin(5, [0, 2])
    assert clock.close() == [Visit(0, 5), Visit(1, 1)]


def test_a_synchronous_round_waits_for_all(job: Make) -> None:
    clock = VirtualRounds(job(), slow(1))
    clock.begin(1, [0, 1, 2])
    assert (clock.close(), clock.now) == ([Visit(c, 1) for c in range(3)], 5.0)


def test_who_would_be_too_stale_is_given_up(job: Make) -> None:
    spec = job(rounds={"mode": "buffered", "buffer": 1, "max_staleness": 1})
    clock = VirtualRounds(spec, slow(1))
    clock.begin(1, [0, 1])
    clock.close()
    clock.give_up(2)
    assert clock.working == {1}
    clock.give_up(3)
    assert clock.working == set()


def test_durations_are_drawn_from_the_seed() -> None:
    one, again, other = drawn(1), drawn(1), drawn(2)
    assert one(3, 4) == again(3, 4) != other(3, 4)
    assert one(3, 4) != one(3, 5) != one(4, 5)
    times = [one(client, 1) for client in range(400)]
    assert 0.8 < sorted(times)[200] < 1.25


def test_the_weight_of_a_late_update() -> None:
    polynomial = RoundsSpec(mode="buffered")
    assert [polynomial.weight(s) for s in (0, 1, 3)] == [1.0, 2**-0.5, 0.5]
    assert RoundsSpec(mode="buffered", staleness_exponent=1.0).weight(3) == 0.25
    assert RoundsSpec(mode="buffered", staleness="constant").weight(3) == 1.0


def test_the_buffer_is_half_of_the_clients_at_work_if_not_given() -> None:
    assert [RoundsSpec(mode="buffered").closes_at(n) for n in (1, 4, 5)] == [1, 2, 3]
    assert RoundsSpec().closes_at(5) == 5


def test_a_buffered_run_can_be_repeated(job: Make, tmp_path: Path) -> None:
    spec = job(**BUFFERED)
    first, again = (run(spec, tmp_path / name) for name in ("first", "again"))
    assert first["model_sha256"] == again["model_sha256"]
    rounds = ledger(tmp_path / "first")
    assert rounds[-1]["round"] == 5
    counted = Counter(
        (client, record["round"] - late)
        for record in rounds
        for client, late in zip(record["clients"], record["staleness"], strict=True)
    )
    assert sum(counted.values()) == len(counted) == 5
    assert max(late for record in rounds for late in record["staleness"]) > 0


def test_a_buffer_for_all_clients_is_a_synchronous_job(job: Make, tmp_path: Path) -> None:
    sync = run(job(rounds=3), tmp_path / "sync")
    fields = {"count": 3, "mode": "buffered", "buffer": 3}
    buffered = run(job(rounds=fields), tmp_path / "buffered")
    assert sync["model_sha256"] == buffered["model_sha256"]
    sizes = [(r["bytes_up"], r["bytes_down"]) for r in ledger(tmp_path / "sync")]
    assert sizes == [(r["bytes_up"], r["bytes_down"]) for r in ledger(tmp_path / "buffered")]


def test_fedkrso_cannot_decay_weights_in_buffered_rounds(job: Make) -> None:
    spec = job(rounds={"mode": "buffered"}, local={"weight_decay": 0.01})
    with pytest.raises(SpecError) as refused:
        check(spec)
    (problem,) = refused.value.problems
    assert problem.field == "rounds.mode"
    assert problem.message == "buffered: fedkrso with local.weight_decay 0.01; allowed: 0"


def test_other_methods_may_decay_weights_in_buffered_rounds(job: Make) -> None:
    changes: dict[str, Any] = {"rounds": {"mode": "buffered"}, "method": {"name": "fedit"}}
    check(job(**changes, local={"weight_decay": 0.01}))
