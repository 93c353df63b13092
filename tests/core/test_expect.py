"""The check at the door: a bad upload is refused with its own message before a round sees it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fedkrso_core.errors import PayloadError
from fedkrso_core.expect import Expected, Group, check_upload
from fedkrso_core.payload import Payload, encode

EXPECTED = Expected(
    required=Group(tensors={"head": ("F32", (2,))}, numbers={"decay": (0.0, 1.0)}),
    optional={
        "0": Group(
            tensors={"A/0/q": ("F32", (3, 1)), "A/0/k": ("BF16", (2, 1))},
            scalars={"P/0": "0123abcd"},
        )
    },
)
GROUP: dict[str, Tensor] = {"A/0/q": torch.ones(3, 1), "A/0/k": torch.ones(2, 1).bfloat16()}
SCALARS: dict[str, Any] = {"num_examples": 5, "metrics": {"loss": 1.0}, "decay": 0.5}


def upload(path: Path, tensors: dict[str, Tensor], **scalars: Any) -> Path:
    payload = Payload({"head": torch.ones(2), **tensors}, {**SCALARS, **scalars})
    path.write_bytes(encode(payload))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "upload"


def test_an_upload_without_its_optional_group_passes(path: Path) -> None:
    assert check_upload(upload(path, {}), EXPECTED, 5).scalars["num_examples"] == 5


def test_an_upload_with_its_whole_group_passes(path: Path) -> None:
    header = check_upload(upload(path, GROUP, **{"P/0": "0123abcd"}), EXPECTED, 5)
    assert sorted(header.tensors) == ["A/0/k", "A/0/q", "head"]


def test_an_expectation_survives_json(path: Path) -> None:
    again = Expected.model_validate_json(EXPECTED.model_dump_json())
    assert again == EXPECTED
    check_upload(upload(path, GROUP, **{"P/0": "0123abcd"}), again, 5)


@pytest.mark.parametrize(
    ("tensors", "scalars", "message"),
    [
        ({"head": torch.ones(3)}, {}, r"'head' is F32 \(3,\); expected F32 \(2,\)"),
        ({"head": torch.ones(1, 2)}, {}, r"'head' is F32 \(1, 2\); expected F32 \(2,\)"),
        ({"head": torch.ones(2).double()}, {}, r"'head' is F64 \(2,\); expected F32"),
        ({"other": torch.ones(1)}, {}, "tensor 'other' is not part of this round's update"),
        ({"A/1/q": torch.ones(3, 1)}, {}, "tensor 'A/1/q' is not part of this round's update"),
        ({"A/0/q": torch.ones(3, 1)}, {}, "lacks 1 tensors, the first is 'A/0/k'"),
        (GROUP, {}, "scalar 'P/0' is None; expected '0123abcd'"),
        (GROUP, {"P/0": "ffff"}, "scalar 'P/0' is 'ffff'; expected '0123abcd'"),
        ({}, {"decay": 1.5}, r"scalar 'decay' is 1\.5; allowed: a number from 0 to 1"),
        ({}, {"decay": -0.1}, r"scalar 'decay' is -0\.1; allowed: a number from 0 to 1"),
        ({}, {"decay": True}, "scalar 'decay' is True; allowed: a number"),
        ({}, {"decay": "1"}, "scalar 'decay' is '1'; allowed: a number"),
        ({}, {"decay": None}, "scalar 'decay' is None; allowed: a number"),
        ({}, {"num_examples": 0}, "num_examples is 0; allowed: a whole number from 1"),
        ({}, {"num_examples": -3}, "num_examples is -3; allowed"),
        ({}, {"num_examples": 5.0}, r"num_examples is 5\.0; allowed"),
        ({}, {"num_examples": None}, "num_examples is None; allowed"),
        ({}, {"num_examples": "5"}, "num_examples is '5'; allowed"),
        ({}, {"num_examples": 6}, "num_examples is 6; this client has 5 rows"),
    ],
)
def test_a_wrong_upload_is_refused_by_its_value(
    path: Path, tensors: dict[str, Tensor], scalars: dict[str, Any], message: str
) -> None:
    with pytest.raises(PayloadError, match=message):
        check_upload(upload(path, tensors, **scalars), EXPECTED, 5)


def test_a_missing_required_tensor_is_named(path: Path) -> None:
    path.write_bytes(encode(Payload({}, SCALARS)))
    with pytest.raises(PayloadError, match="lacks 1 tensors, the first is 'head'"):
        check_upload(path, EXPECTED)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_infinite_numbers_are_refused(path: Path, value: float) -> None:
    with pytest.raises(PayloadError, match="tensor 'head' holds NaN or infinite values"):
        check_upload(upload(path, {"head": torch.tensor([1.0, value])}), EXPECTED)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_infinite_numbers_are_found_in_every_dtype(path: Path, dtype: torch.dtype) -> None:
    name = {torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16"}[dtype]
    expected = Expected(required=Group(tensors={"head": (name, (2,))}))
    big = torch.tensor([1.0, torch.finfo(dtype).max], dtype=dtype)
    check_upload(upload(path, {"head": big}), expected)
    with pytest.raises(PayloadError, match="'head' holds NaN or infinite"):
        check_upload(upload(path, {"head": big * torch.inf}), expected)


def test_the_last_of_many_numbers_is_looked_at(path: Path) -> None:
    many = torch.ones(3_000_000)  # more than one chunk
    many[-1] = torch.nan
    with pytest.raises(PayloadError, match="'head' holds NaN"):
        check_upload(
            upload(path, {"head": many}),
            Expected(required=Group(tensors={"head": ("F32", (3_000_000,))})),
        )


@pytest.mark.parametrize("lost", [1, 4, 8])
def test_a_truncated_upload_is_refused(path: Path, lost: int) -> None:
    data = upload(path, {}).read_bytes()
    path.write_bytes(data[:-lost])
    with pytest.raises(PayloadError, match=r"does not fit its bytes|header names"):
        check_upload(path, EXPECTED)


def test_true_is_no_number_of_examples(path: Path) -> None:
    with pytest.raises(PayloadError, match="num_examples is True"):
        check_upload(upload(path, {}, num_examples=True), EXPECTED)


@pytest.mark.parametrize("metrics", [None, [1], "loss", {"loss": "low"}, {"loss": [1]}], ids=repr)
def test_metrics_are_a_mapping_of_numbers(path: Path, metrics: Any) -> None:
    with pytest.raises(PayloadError, match="metrics"):
        check_upload(upload(path, {}, metrics=metrics), EXPECTED)


def test_an_upload_without_metrics_is_refused(path: Path) -> None:
    path.write_bytes(encode(Payload({"head": torch.ones(2)}, {"num_examples": 5, "decay": 1})))
    with pytest.raises(PayloadError, match="metrics"):
        check_upload(path, EXPECTED)


RANKS = Expected(
    required=Group(tensors={"head": ("F32", (2,))}),
    optional={str(r): Group(tensors={f"{r}/A": ("F32", (r, 3))}) for r in (1, 2)},
    places=("1", "2", "2"),
)


@pytest.mark.parametrize(("client", "rank"), [(0, 1), (2, 2), (3, 1), (5, 2)])
def test_each_client_has_a_place_in_the_list_which_starts_anew(
    path: Path, client: int, rank: int
) -> None:
    own, other = ({f"{r}/A": torch.ones(r, 3)} for r in (rank, 3 - rank))
    assert check_upload(upload(path, own), RANKS.of_client(client))
    for wrong in (other, own | other, {}):
        with pytest.raises(PayloadError):
            check_upload(upload(path, wrong), RANKS.of_client(client))


def test_without_places_all_clients_may_send_the_same() -> None:
    assert EXPECTED.of_client(4) is EXPECTED
