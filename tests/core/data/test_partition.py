"""Dividing rows among clients: nothing is lost, nothing doubled, nobody goes without."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkrso_core.data.examples import Examples
from fedkrso_core.data.partition import divide
from fedkrso_core.errors import PartitionError
from fedkrso_core.spec import ByColumn, Dirichlet, Iid, PartitionSpec, Shards

KINDS: list[PartitionSpec] = [Iid(), Dirichlet(alpha=1.0), Shards(per_client=2), ByColumn()]


def examples(labels: list[int], groups: list[str] | None = None) -> Examples:
    names = tuple(str(label) for label in range(max(labels, default=0) + 1))
    return Examples([f"text {row}" for row in range(len(labels))], None, labels, names, groups)


def balanced(rows: int, labels: int = 4) -> Examples:
    """Labels and owners take turns: 0, 1, 2, ..."""
    return examples([row % labels for row in range(rows)], [f"g{row % 20}" for row in range(rows)])


@pytest.mark.parametrize("spec", KINDS, ids=lambda spec: spec.kind)
@given(rows=st.integers(40, 200), count=st.integers(1, 6), seed=st.integers(0, 2**63 - 1))
def test_every_row_goes_to_exactly_one_client(
    spec: PartitionSpec, rows: int, count: int, seed: int
) -> None:
    parts = divide(balanced(rows), spec, count, seed)
    assert len(parts) == count
    assert sorted(np.concatenate(parts)) == list(range(rows))
    assert all(len(part) > 0 and (np.diff(part) > 0).all() for part in parts)


@pytest.mark.parametrize("spec", KINDS, ids=lambda spec: spec.kind)
def test_the_same_seed_divides_the_same_way(spec: PartitionSpec) -> None:
    first, again, other = (divide(balanced(101), spec, 5, seed) for seed in (7, 7, 8))
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    assert not all(np.array_equal(*pair) for pair in zip(first, other, strict=True))


@pytest.mark.parametrize("spec", KINDS, ids=lambda spec: spec.kind)
def test_more_clients_than_rows_are_refused(spec: PartitionSpec) -> None:
    with pytest.raises(PartitionError, match=r"9 clients cannot share 8 rows.*at most 8 clients"):
        divide(balanced(8), spec, 9, seed=0)


def test_iid_sizes_differ_by_at_most_one() -> None:
    sizes = [len(part) for part in divide(balanced(103), Iid(), 10, seed=0)]
    assert sorted(sizes) == [10] * 7 + [11] * 3


def test_a_large_alpha_gives_every_client_the_same_mixture() -> None:
    rows = balanced(400)
    for part in divide(rows, Dirichlet(alpha=1e6), 4, seed=0):
        assert rows.select(part).label_histogram() == pytest.approx([25] * 4, abs=2)


def test_a_small_alpha_gives_a_label_mostly_to_one_client() -> None:
    rows = balanced(4000, labels=10)
    parts = divide(rows, Dirichlet(alpha=0.05), 4, seed=0)
    counts = np.array([rows.select(part).label_histogram() for part in parts])
    assert (counts.max(axis=0) / counts.sum(axis=0)).mean() > 0.8


def test_dirichlet_draws_again_until_no_client_is_empty() -> None:
    for seed in range(20):
        parts = divide(balanced(60), Dirichlet(alpha=0.3), 5, seed)
        assert min(len(part) for part in parts) > 0


def test_dirichlet_gives_up_with_the_numbers_and_a_remedy() -> None:
    message = r"alpha 0.001 left \d+ of 8 clients without any of the 64 rows.*larger alpha"
    with pytest.raises(PartitionError, match=message):
        divide(balanced(64), Dirichlet(alpha=0.001), 8, seed=0)


def test_a_client_with_two_shards_sees_at_most_two_labels() -> None:
    rows = balanced(80)
    for part in divide(rows, Shards(per_client=2), 4, seed=0):
        assert len(part) == 20
        assert np.count_nonzero(rows.select(part).label_histogram()) <= 2


def test_too_many_shards_are_refused() -> None:
    with pytest.raises(PartitionError, match="4 clients with 3 shards each need 12 rows"):
        divide(balanced(10), Shards(per_client=3), 4, seed=0)


def test_rows_with_the_same_value_stay_together() -> None:
    rows = balanced(200)
    owners = [set(rows.select(part).groups or []) for part in divide(rows, ByColumn(), 6, seed=0)]
    assert sum(len(groups) for groups in owners) == 20


def test_large_groups_are_dealt_first_so_that_sizes_are_even() -> None:
    rows = examples([0] * 12, list("aaaaaabbbccd"))
    sizes = [len(part) for part in divide(rows, ByColumn(), 2, seed=0)]
    assert sizes == [6, 6]


def test_fewer_groups_than_clients_are_refused() -> None:
    rows = examples([0] * 6, list("aabbcc"))
    with pytest.raises(PartitionError, match=r"'city' has 3 values for 4 clients.*at most 3"):
        divide(rows, ByColumn(column="city"), 4, seed=0)


def test_rows_without_groups_cannot_be_divided_by_column() -> None:
    with pytest.raises(PartitionError, match="without their column 'group'"):
        divide(examples([0] * 6), ByColumn(), 2, seed=0)


@st.composite
def any_rows(draw: st.DrawFn) -> Examples:
    """Any distribution of labels and of owners, the most skewed ones too."""
    labels = draw(st.lists(st.integers(0, draw(st.integers(0, 9))), min_size=1, max_size=120))
    owners = draw(st.integers(1, 30))
    groups = [f"g{owner}" for owner in draw(_as_many(labels, st.integers(0, owners)))]
    return examples(labels, groups)


def _as_many(rows: list[int], values: st.SearchStrategy[int]) -> st.SearchStrategy[list[int]]:
    return st.lists(values, min_size=len(rows), max_size=len(rows))


PARTITIONS = (
    st.builds(Iid)
    | st.builds(Dirichlet, alpha=st.floats(1e-3, 1e6))
    | st.builds(Shards, per_client=st.integers(1, 5))
    | st.builds(ByColumn)
)


@given(any_rows(), PARTITIONS, st.integers(1, 40), st.integers(0, 2**63 - 1))
def test_any_rows_are_divided_wholly_or_refused(
    rows: Examples, spec: PartitionSpec, count: int, seed: int
) -> None:
    try:
        parts = divide(rows, spec, count, seed)
    except PartitionError:
        assert _may_be_refused(rows, spec, count)
        with pytest.raises(PartitionError):
            divide(rows, spec, count, seed)
        return
    assert len(parts) == count
    assert all(len(part) > 0 and (np.diff(part) > 0).all() for part in parts)
    assert sorted(np.concatenate(parts)) == list(range(len(rows)))
    again = divide(rows, spec, count, seed)
    assert all(np.array_equal(*pair) for pair in zip(parts, again, strict=True))


def _may_be_refused(rows: Examples, spec: PartitionSpec, count: int) -> bool:
    """Only what leaves a client without a row; dirichlet may draw that whatever there is."""
    least = {
        "iid": count,
        "shards": count * getattr(spec, "per_client", 1),
        "by-column": count,
        "dirichlet": len(rows) + 1,
    }[spec.kind]
    have = len(set(rows.groups or [])) if spec.kind == "by-column" else len(rows)
    return have < least
