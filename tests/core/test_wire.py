"""A payload in fewer bits: how far off its numbers are, and how many bytes it takes."""

import numpy as np
import pytest
import torch

from fedkrso_core.encoding import encoded_bytes
from fedkrso_core.errors import PayloadError
from fedkrso_core.payload import Payload, decode, encode
from fedkrso_core.wire import compress, restore
from fedkrso_core.wire_spec import WireDtype, form_of, scales_of

STEPS: dict[WireDtype, float] = {"int8": 1 / 127, "int4": 1 / 7}
SHAPES = [(64, 4), (4, 65), (7,), (1,), (3, 5, 2), (5, 5), (3, 1), ()]


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def there_and_back(x: torch.Tensor, dtype: WireDtype) -> torch.Tensor:
    payload = decode(encode(compress(Payload({"x": x}, {"a": 1}), dtype)))
    back = restore(payload, dtype, {"x": tuple(x.shape)})
    assert (back.scalars, set(back.tensors)) == ({"a": 1}, {"x"})
    return back.tensors["x"]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", STEPS)
def test_a_number_is_off_by_at_most_half_a_step(dtype: WireDtype, shape: tuple[int, ...]) -> None:
    x = normal(*shape)
    back = there_and_back(x, dtype)
    assert back.shape == x.shape
    assert (back - x).abs().max() <= 0.5001 * STEPS[dtype] * x.abs().max()


@pytest.mark.parametrize("dtype", STEPS)
@pytest.mark.parametrize("wide", [False, True])
def test_each_row_of_the_shorter_side_has_its_own_scale(dtype: WireDtype, wide: bool) -> None:
    x = normal(64, 4) * torch.tensor([1.0, 1e-3, 1e-6, 0.0])
    back = there_and_back(x.T.contiguous(), dtype).T if wide else there_and_back(x, dtype)
    assert torch.all((back - x).abs().amax(0) <= 0.5001 * STEPS[dtype] * x.abs().amax(0))
    assert torch.equal(back[:, 3], torch.zeros(64))


@pytest.mark.parametrize("dtype", STEPS)
def test_rounding_at_random_is_off_by_at_most_a_step_and_right_on_average(
    dtype: WireDtype,
) -> None:
    x, rng = normal(16, 2), np.random.default_rng(0)
    payload, shapes = Payload({"x": x}), {"x": (16, 2)}
    draws = torch.stack(
        [
            restore(compress(payload, dtype, lambda _: rng), dtype, shapes).tensors["x"]
            for _ in range(4000)
        ]
    )
    step = STEPS[dtype] * x.abs().amax(0)
    assert torch.all((draws - x).abs().amax(0) <= 1.0001 * step)
    assert torch.all((draws.mean(0) - x).abs() < 4 * 0.5 * step / 4000**0.5)
    nearest = there_and_back(x, dtype)
    assert torch.all((nearest - x).abs() <= 0.5001 * step)


def test_bf16_is_bfloat16() -> None:
    x = normal(5, 3)
    assert torch.equal(there_and_back(x, "bf16"), x.bfloat16().float())


def test_fp32_and_what_is_no_float32_stay_as_they_are() -> None:
    payload = Payload({"x": normal(3), "n": torch.arange(3), "none": torch.zeros(0, 4)})
    assert compress(payload, "fp32") is payload
    assert restore(payload, "fp32", {}) is payload
    back = restore(compress(payload, "int4"), "int4", {"x": (3,), "none": (0, 4)})
    assert torch.equal(back.tensors["n"], torch.arange(3))
    assert back.tensors["none"].shape == (0, 4)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8", "int4"])
def test_the_bytes_are_those_of_the_formula(dtype: WireDtype, shape: tuple[int, ...]) -> None:
    payload = compress(Payload({"x": normal(*shape)}), dtype)
    n, s = int(np.prod(shape)), scales_of(shape)
    formula = {"fp32": 4 * n, "bf16": 2 * n, "int8": 4 * s + n, "int4": 4 * s + (n + 1) // 2}
    assert payload.tensors["x"].nbytes == formula[dtype]
    scalars = {} if dtype == "fp32" else {"wire": dtype}
    forecast = encoded_bytes({"x": form_of(dtype, "F32", shape)}, scalars)
    assert len(encode(payload)) == forecast


def test_int8_is_a_quarter_and_int4_an_eighth() -> None:
    tensors = {f"A/{k}/encoder.layer.0.attention.self.query": normal(384, 16) for k in range(5)}
    whole = len(encode(Payload(tensors)))
    sizes = {d: len(encode(compress(Payload(tensors), d))) / whole for d in STEPS}
    assert sizes["int8"] == pytest.approx(0.25, abs=0.01)
    assert sizes["int4"] == pytest.approx(0.125, abs=0.01)


@pytest.mark.parametrize("dtype", ["bf16", *STEPS])
def test_what_is_not_of_the_form_is_refused(dtype: WireDtype) -> None:
    payload = compress(Payload({"x": normal(6, 2)}), dtype)
    assert restore(payload, dtype, {"x": (6, 2)}).tensors["x"].shape == (6, 2)
    for shape in [(6, 4), (2**20, 2**20), (6,), (5, 2)]:
        with pytest.raises(PayloadError, match="tensor 'x' is"):
            restore(payload, dtype, {"x": shape})
    with pytest.raises(PayloadError, match="wire is None; expected"):
        restore(Payload(payload.tensors), dtype, {"x": (6, 2)})
    plain = Payload({"x": normal(6, 2)}, payload.scalars)
    with pytest.raises(PayloadError, match=r"tensor 'x' is torch\.float32"):
        restore(plain, dtype, {"x": (6, 2)})
