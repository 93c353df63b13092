from __future__ import annotations

from fedkrso_core.clone import changed
from fedkrso_core.spec import EXAMPLE, parse

SPEC = parse(EXAMPLE).model_dump(mode="json")


def test_nothing_changed_is_the_same_job() -> None:
    assert parse(changed(SPEC, {})) == parse(SPEC)


def test_of_a_section_only_the_given_fields_change() -> None:
    made = parse(changed(SPEC, {"seed": 3, "local": {"lr": 0.5}, "method": {"rank": 2}}))
    assert (made.seed, made.local.lr, made.local.steps) == (3, 0.5, 30)
    assert made.method.options == {"rank": 2, "seeds": 10, "interval": 10}


def test_another_method_or_partition_comes_without_the_options_of_the_old_one() -> None:
    changes = {"method": {"name": "fedavg"}, "partition": {"kind": "iid"}}
    made = parse(changed(SPEC, changes))
    assert made.method.options == {}
    assert made.partition.kind == "iid"


def test_the_old_job_file_stays_as_it_is() -> None:
    before = parse(SPEC)
    changed(SPEC, {"local": {"lr": 0.5}})["local"]["lr"] = 7
    assert parse(SPEC) == before
