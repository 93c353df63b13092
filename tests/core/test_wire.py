"""A payload in fewer bits: how far off its numbers are, and how many bytes it takes."""

import pytest
import torch

from fedkrso_core.payload import Payload, decode, encode
from fedkrso_core.wire import compress, restore

STEP = {"int8": 1 / 127, "int4": 1 / 7}


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(64, 4), (4, 65), (7,), (1,), (3, 5, 2), (5, 5), ()], ids=str)
@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_a_number_is_off_by_at_most_half_a_step(dtype: str, shape: tuple[int, ...]) -> None:
    x = normal(*shape)
    back = restore(decode(encode(compress(Payload({"x": x}, {"a": 1}), dtype))))
    assert back.scalars == {"a": 1}
    assert back.tensors["x"].shape == x.shape
    assert set(back.tensors) == {"x"}
    largest = x.abs().max()
    assert (back.tensors["x"] - x).abs().max() <= 0.5001 * STEP[dtype] * largest


def test_each_column_of_an_accumulator_has_its_own_scale() -> None:
    x = normal(64, 4) * torch.tensor([1.0, 1e-3, 1e-6, 0.0])
    back = restore(compress(Payload({"x": x}), "int8")).tensors["x"]
    error = (back - x).abs().amax(0)
    assert torch.all(error <= 0.5001 / 127 * x.abs().amax(0))
    assert torch.equal(back[:, 3], torch.zeros(64))


def test_bf16_is_bfloat16() -> None:
    x = normal(5, 3)
    assert torch.equal(restore(compress(Payload({"x": x}), "bf16")).tensors["x"],
                       x.bfloat16().float())  # fmt: skip


def test_fp32_and_what_is_no_float_stay_as_they_are() -> None:
    payload = Payload({"x": normal(3), "n": torch.arange(3)})
    assert compress(payload, "fp32") is payload
    assert restore(payload) is payload
    assert torch.equal(restore(compress(payload, "int4")).tensors["n"], torch.arange(3))


@pytest.mark.parametrize(("dtype", "bits"), [("fp32", 32), ("bf16", 16), ("int8", 8), ("int4", 4)])
def test_the_bytes_are_the_bits(dtype: str, bits: int) -> None:
    payload = Payload({"A/0/layer": normal(4096, 4)})
    size = len(encode(compress(payload, dtype)))
    assert size == pytest.approx(4096 * 4 * bits / 8, abs=400)  # header and four scales
