"""What an owner's policy allows, refuses and postpones, each with the reason."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fedkrso_core.errors import SpecError
from fedkrso_core.spec import parse
from worker.ledger import Ledger
from worker.policy import Policy, read


def policy(tmp_path: Path, text: str) -> Policy:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return read(path)


def refused(tmp_path: Path, text: str, **job: Any) -> str | None:
    return policy(tmp_path, text).refuses(parse({"name": "a", **job}))


def test_without_a_policy_everything_is_allowed() -> None:
    assert read(None).refuses(parse({"name": "a"})) is None


def test_methods_and_models_are_those_that_are_named(tmp_path: Path) -> None:
    assert refused(tmp_path, "methods: [fedkrso]") is None
    assert refused(tmp_path, "methods: [fedavg]") == "method 'fedkrso'; allowed here: fedavg"
    assert refused(tmp_path, "models: [roberta]") == "model 'minilm'; allowed here: roberta"
    own = policy(tmp_path, "models: {minilm: /models/minilm, roberta: null}")
    assert own.model_for("minilm") == "/models/minilm"
    assert own.model_for("roberta") == "roberta"


def test_privacy_that_no_job_has_yet_is_a_reason_to_refuse(tmp_path: Path) -> None:
    reason = "the job has no differential privacy, which is required here"
    assert refused(tmp_path, "privacy_required: true") == reason


def test_others_count_as_far_as_a_round_cannot_close_without_them(tmp_path: Path) -> None:
    text = "other_clients: 2"
    clients = {"count": 5, "per_round": 5}
    said = refused(tmp_path, text, clients=clients)
    assert said is not None
    assert said.startswith("a round may close with 1 updates")
    assert refused(tmp_path, text, clients={**clients, "min_clients": 3}) is None


@pytest.mark.parametrize(
    ("hours", "hour", "works"),
    [
        ("20:00-06:00", 23, True),
        ("20:00-06:00", 5, True),
        ("20:00-06:00", 12, False),
        ("08:00-17:00", 12, True),
        ("08:00-17:00", 17, False),
    ],
)
def test_hours_may_span_midnight(tmp_path: Path, hours: str, hour: int, works: bool) -> None:
    said = policy(tmp_path, f"hours: {hours}").pauses(datetime(2026, 1, 2, hour), 0)
    assert (said is None) == works


def test_a_days_bytes_are_enough_at_some_point(tmp_path: Path) -> None:
    own, ledger = policy(tmp_path, "bytes_per_day: 2MB"), Ledger(tmp_path / "moved.json")
    noon = datetime(2026, 1, 2, 12)
    ledger.add(1_500_000)
    assert own.pauses(noon, ledger.today()) is None
    ledger.add(500_000)
    assert own.pauses(noon, ledger.today()) == "2.0 MB moved today; allowed here: 2.0 MB a day"


def test_a_ledger_that_cannot_be_read_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "moved.json"
    path.write_text('{"day": "2020-01-01", "bytes": 5}')
    assert Ledger(path).today() == 0
    path.write_text("{")
    assert Ledger(path).today() == 0


def test_memory_is_allowed_up_to_the_limit(tmp_path: Path) -> None:
    own = policy(tmp_path, "max_memory: 1GB")
    assert own.refuses_memory(10**9) is None
    said = own.refuses_memory(10**9 + 10**8)
    assert said == "a training takes 1.1 GB of memory; allowed here: 1.0 GB"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("methds: [a]", "methds: no such field; allowed: methods, models"),
        ("hours: late", "'late' are no hours; allowed: such as 20:00-06:00"),
        ("max_memory: lots", "'lots' is no size"),
        ("- a", "is a mapping of fields"),
        ("methods: [", "is not YAML"),
    ],
)
def test_what_is_wrong_with_a_policy_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SpecError, match=r"policy\.yaml") as error:
        policy(tmp_path, text)
    assert said in str(error.value)


def test_a_policy_that_is_not_there_is_an_error_not_a_licence(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        read(tmp_path / "none.yaml")
