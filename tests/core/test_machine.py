"""The speed of the machine is measured in a process of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fedkrso_core import machine
from fedkrso_core.errors import CoreError
from fedkrso_core.spec import JobSpec


@pytest.mark.slow
def test_the_measurements_are_those_of_a_computer() -> None:
    found = machine.this_machine()
    assert (found.device, found.threads, str(found)) == ("cpu", 1, "cpu, 1 thread")
    assert 100e6 < found.resident_bytes < 2e9
    assert set(found.products) == {"fp32", "medium", "bf16"}
    assert all(1e8 < rate < 1e14 for rate in found.products.values())
    assert found.moved > found.fresh > 1e7
    assert found.noise > 1e6
    assert 1e-8 < found.operator_s < 1e-3
    assert machine.this_machine() is found


@pytest.mark.slow
def test_jobs_with_the_same_data_and_model_are_measured_once(job: Callable[..., JobSpec]) -> None:
    found = machine.this_machine(job())
    assert machine.this_machine(job(name="another", rounds=9)) is found
    assert found.resident_bytes > 100e6


@pytest.mark.slow
def test_a_process_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKRSO_THREADS", "3")
    monkeypatch.setattr(machine.sys, "executable", "/bin/false")
    with pytest.raises(CoreError, match="cannot be measured"):
        machine.this_machine()
