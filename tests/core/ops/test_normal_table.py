"""Standard normal numbers from 16 bits: a table that is the same everywhere."""

import hashlib
from statistics import NormalDist

import numpy as np
import pytest

from fedkrso_core.ops.normal_table import normal_table


def steps() -> np.ndarray:
    """The table in its unit, 1/4096."""
    return (normal_table() * 4096).astype("<i2")


def test_its_bits_never_change() -> None:
    assert normal_table().dtype == np.float32
    sha256 = hashlib.sha256(steps().tobytes()).hexdigest()
    assert sha256 == "1ea009ce409dac97d6bd609266910f809c5fb912f78e16bd89145b08174d6fc5"
    assert np.array_equal(steps() / np.float32(4096), normal_table())


def test_it_is_antisymmetric_and_rises() -> None:
    assert np.array_equal(normal_table()[::-1], -normal_table())
    assert (np.diff(normal_table()) >= 0).all()


def test_no_zero_has_a_sign() -> None:
    zeros = normal_table()[normal_table() == 0]
    assert len(zeros) == 6
    assert not np.signbit(zeros).any()


def test_its_moments_are_those_of_the_normal_distribution() -> None:
    table = normal_table().astype(np.float64)
    assert table.mean() == 0
    assert (table**2).mean() == pytest.approx(1, abs=1e-4)
    assert (table**4).mean() == pytest.approx(3, abs=2e-3)
    assert table.max() == 17715 / 4096


def test_another_way_to_the_quantiles_would_give_the_same_integers() -> None:
    """None is near a half, so rounding does not hang on the last digits of the quantile."""
    quantile = NormalDist().inv_cdf
    exact = np.array([4096 * quantile((h + 0.5) / 65536) for h in range(65536)])
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-5
    assert np.array_equal(np.rint(exact), steps())


def test_nobody_can_write_to_it() -> None:
    with pytest.raises(ValueError, match="read-only"):
        normal_table()[0] = 1.0
