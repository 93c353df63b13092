"""Device and threads come from the environment, or are chosen with care."""

import os

import pytest
import torch

from fedkrso_core.device import default_device, default_threads, prepare_process
from fedkrso_core.errors import CoreError


def test_threads_default_to_half_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDKRSO_THREADS")
    assert default_threads() == max(1, (os.cpu_count() or 2) // 2)


def test_threads_are_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKRSO_THREADS", "3")
    assert default_threads() == 3


@pytest.mark.parametrize("given", ["0", "-1", "two", "1.5", ""])
def test_threads_that_are_no_number_are_refused(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("FEDKRSO_THREADS", given)
    with pytest.raises(CoreError, match=f"FEDKRSO_THREADS is '{given}'; allowed: a whole number"):
        default_threads()


def test_the_device_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKRSO_DEVICE", "cpu")
    assert default_device() == torch.device("cpu")


def test_the_device_defaults_to_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDKRSO_DEVICE")
    assert default_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("given", ["gpu", "", "tpu:0"])
def test_a_device_of_no_known_kind_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("FEDKRSO_DEVICE", given)
    with pytest.raises(CoreError, match=f"FEDKRSO_DEVICE is '{given}'; allowed: cpu, cuda"):
        default_device()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_cuda_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKRSO_DEVICE", "cuda:0")
    with pytest.raises(CoreError, match="FEDKRSO_DEVICE is 'cuda:0', but there is no CUDA device"):
        default_device()


def test_preparing_sets_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKRSO_THREADS", "2")
    assert prepare_process() == torch.device("cpu")
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


@pytest.mark.parametrize(("given", "tuned"), [(None, True), ("lean", True), ("fast", False)])
def test_the_allocator_is_lean_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: str | None, tuned: bool
) -> None:
    calls: list[str] = []
    monkeypatch.setattr("fedkrso_core.device.tune_allocator", lambda: calls.append("tuned"))
    monkeypatch.delenv("FEDKRSO_ALLOCATOR", raising=False)
    if given:
        monkeypatch.setenv("FEDKRSO_ALLOCATOR", given)
    prepare_process()
    assert bool(calls) == tuned


def test_an_unknown_allocator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKRSO_ALLOCATOR", "quick")
    with pytest.raises(CoreError, match="FEDKRSO_ALLOCATOR is 'quick'; allowed: lean, fast"):
        prepare_process()
