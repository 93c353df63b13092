"""A machine that need not be measured, and forecasts on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from fedkrso_core import estimate as estimating
from fedkrso_core.forecast import Forecasts
from fedkrso_core.machine import Machine
from fedkrso_core.spec import JobSpec

MACHINE = Machine(
    device="cpu",
    threads=1,
    resident_bytes=400_000_000,
    products={"fp32": 1e11, "medium": 2e11, "bf16": 5e11},
    moved=6e10,
    fresh=3e9,
    noise=2e8,
    operator_s=3e-6,
)


@pytest.fixture
def machine() -> Machine:
    """Round numbers of one core."""
    return MACHINE


@pytest.fixture
def forecast(
    job: Callable[..., JobSpec], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Forecasts]:
    """Forecasts the tiny job; arguments as of `raw_job`, and the methods to compare with."""
    monkeypatch.setattr(estimating, "this_machine", lambda _: MACHINE)

    def make(methods: Sequence[str] | None = None, **changes: object) -> Forecasts:
        return estimating.estimate(job(**changes), methods)

    return make
