"""The speed of the machine is measured in a process of its own."""

from __future__ import annotations

import pytest

from fedkrso_core import machine
from fedkrso_core.errors import CoreError


@pytest.mark.slow
def test_the_measurements_are_those_of_a_computer() -> None:
    found = machine.this_machine()
    assert (found.device, found.threads, str(found)) == ("cpu", 1, "cpu, 1 thread")
    assert 100e6 < found.resident_bytes < 2e9
    assert set(found.products) == {"fp32", "medium", "bf16"}
    assert all(1e9 < rate < 1e14 for rate in found.products.values())
    assert found.moved > found.fresh > 1e7
    assert found.noise > 1e6
    assert 1e-8 < found.operator_s < 1e-3
    assert machine.this_machine() is found


@pytest.mark.slow
def test_a_process_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKRSO_THREADS", "3")
    monkeypatch.setattr(machine.sys, "executable", "/bin/false")
    with pytest.raises(CoreError, match="cannot be measured"):
        machine.this_machine()
