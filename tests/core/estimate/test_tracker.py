"""The log of live storages: what counts, what dies, and what the peak was made of."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from fedkrso_core.estimate.tracker import LiveTensors, NoValues

KIB = 1024


def kib(count: int) -> torch.Tensor:
    return torch.zeros(count * KIB // 4)


def test_what_dies_is_given_back_and_the_peak_stays() -> None:
    with LiveTensors() as live:
        one = kib(4)
        two = kib(2)
        del one
        three = kib(1)
    assert (live.live_bytes, live.peak_bytes) == (3 * KIB, 6 * KIB)
    del two, three
    assert live.live_bytes == 0


def test_views_and_changes_in_place_count_once() -> None:
    with LiveTensors() as live:
        one = kib(4)
        views = [one[:8], one.view(2, -1).t(), one.detach(), one.add_(1)]
    assert live.live_bytes == live.peak_bytes == 4 * KIB
    del one
    assert live.live_bytes == 4 * KIB  # the views hold it
    del views
    assert live.live_bytes == 0


def test_what_was_there_before_counts_only_if_named() -> None:
    before, named = kib(4), kib(2)
    with LiveTensors() as live:
        live.count([named])
        before.add_(1)
        _ = before[1:], named[1:]
        assert live.live_bytes == 2 * KIB
    assert live.at_peak()["weights"] == 2 * KIB


def test_tensors_of_numbers_count() -> None:
    with LiveTensors() as live:
        made = torch.tensor([1.0, 2.0])
    assert live.live_bytes == made.nbytes


def test_other_devices_do_not_count() -> None:
    with LiveTensors() as live:
        _ = torch.empty(9, device="meta"), kib(1)
    assert live.peak_bytes == KIB


def test_sparse_tensors_are_passed_over() -> None:
    with LiveTensors() as live:
        _ = torch.eye(4).to_sparse()
    assert live.peak_bytes > 0


def test_fake_tensors_have_the_size_of_real_ones() -> None:
    def work() -> LiveTensors:
        with LiveTensors() as live:
            layer = nn.Linear(64, 32)
            live.count(layer)
            layer(torch.ones(16, 64)).square().sum().backward()
        return live

    real = work()
    with FakeTensorMode():
        fake = work()
    assert (fake.peak_bytes, fake.at_peak()) == (real.peak_bytes, real.at_peak())


def test_an_optimizer_tags_what_it_steps_on() -> None:
    with LiveTensors() as live:
        layer = nn.Linear(64, 32, bias=False)
        optimizer = torch.optim.AdamW(layer.parameters())
        for _ in range(2):
            layer(torch.ones(1, 64)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    parts, size = live.at_peak(), layer.weight.nbytes
    assert parts["weights"] == parts["gradients"] == size
    assert parts["optimizer"] == 2 * size + 4  # two moments, and the number of steps
    assert sum(parts.values()) == live.peak_bytes


def test_a_tag_set_later_is_seen_and_the_first_stays() -> None:
    with LiveTensors() as live:
        one, two = kib(1), kib(2)
        live.count([one], "gradients")
        live.tag_rest("optimizer")
        live.count([two])
    expected = {"weights": 0, "gradients": KIB, "optimizer": 2 * KIB, "activations": 0}
    assert live.at_peak() == expected


def test_two_trackers_do_not_disturb_each_other() -> None:
    with LiveTensors() as outer:
        one = kib(1)
        with LiveTensors() as inner:
            two = kib(2)
        three = kib(4)
    assert (outer.peak_bytes, inner.peak_bytes) == (7 * KIB, 2 * KIB)
    del one, two, three


def test_the_hooks_go_with_the_block() -> None:
    from torch.optim import optimizer as module

    before = len(module._global_optimizer_pre_hooks), len(module._global_optimizer_post_hooks)
    with pytest.raises(ValueError, match="ends"), LiveTensors():
        raise ValueError("ends")
    after = len(module._global_optimizer_pre_hooks), len(module._global_optimizer_post_hooks)
    assert before == after


def test_tensors_without_values_can_say_zero() -> None:
    with NoValues(0):
        assert not torch.empty(3, dtype=torch.bool, device="meta").any()
        assert torch.empty(3, 2, device="meta").nonzero().shape == (0, 2)
    with NoValues():
        assert torch.empty(3, 2, device="meta").nonzero().shape == (6, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_tensors_without_values_say_one(dtype: torch.dtype) -> None:
    with NoValues():
        value = torch.empty((), dtype=dtype, device="meta").item()
        assert torch.tensor(7, dtype=torch.int64).item() == 7  # this one has a value
    with FakeTensorMode() as fake, NoValues():
        assert torch.ones(3, dtype=dtype).sum().item() == 1
    assert fake is not None
    assert value == 1
    assert type(value) is type(torch.ones((), dtype=dtype).item())
