"""External clients in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from dashboard import client_views
from tests.dashboard.fake_access import FakeAccess, ago

NOW = datetime.now(UTC)  # the times of the fake are a little later
WORK = [{"job": "j", "name": "demo", "round": 3, "client": 4, "step": 4, "steps": 10}]


def client(**changed: Any) -> dict[str, Any]:
    fake = FakeAccess()
    fake.add_client("hospital", **changed)
    answer = fake.answer("GET", "/v1/clients", {})
    assert answer is not None
    found: dict[str, Any] = answer[1]["items"][0]
    return found


@pytest.mark.parametrize(
    ("changed", "word", "sentence"),
    [
        ({}, "ready", "Waits for work"),
        ({"work": WORK}, "training", "Trains round 3 of demo (step 4 of 10)"),
        ({"status": "quiet hours"}, "away", "Takes no work: quiet hours"),
        ({"heartbeat_at": None}, "new", "Enrolled; it has not started yet"),
        ({"heartbeat_at": ago(7201)}, "silent", "Not heard of for 2 h"),
        (
            {"heartbeat_at": ago(7201), "work": WORK},
            "silent",
            "Not heard of for 2 h, while it had round 3 of demo (step 4 of 10)",
        ),
        ({"state": "revoked"}, "revoked", "Its keys are refused"),
        (
            {"state": "quarantined", "quarantined_at": ago(66)},
            "quarantined",
            "In quarantine since 1 min ago",
        ),
    ],
)
def test_a_word_and_a_sentence_say_what_a_client_does(
    changed: dict[str, Any], word: str, sentence: str
) -> None:
    found = client(**changed)
    assert client_views.standing(found, NOW) == word
    assert client_views.doing(found, NOW) == sentence


def test_hardware_leaves_out_what_a_client_does_not_say() -> None:
    found = client(hardware={"device": "cpu", "threads": 1, "free_memory_bytes": None})
    assert client_views.hardware(found) == "cpu · 1 thread"
    assert client_views.hardware(client(hardware={})) == ""


def test_labels_are_read_as_they_are_written() -> None:
    labels = {"tier": "1", "site": "eu"}
    assert client_views.labels_text(labels) == "site=eu, tier=1"
    assert client_views.labels_of("site=eu, tier=1,") == labels
    with pytest.raises(ValueError, match="tier=: allowed are labels like site=eu"):
        client_views.labels_of("site=eu, tier=")


def test_the_summary_counts_clients_of_each_standing() -> None:
    found = [client(), client(), client(state="revoked")]
    assert client_views.summary(found, NOW) == "3 clients: 2 ready, 1 revoked"


def test_an_invitation_names_who_enrolled_with_it() -> None:
    fake = FakeAccess()
    fake.answer("POST", "/v1/invitations", {"labels": {"site": "eu"}})
    fake.invitations["invitation1"] |= {"state": "used", "client": "client1"}
    answer = fake.answer("GET", "/v1/invitations", {})
    assert answer is not None
    row = client_views.invitations_table(answer[1]["items"], [client()]).iloc[0]
    assert list(row[["State", "Labels", "Client"]]) == ["used", "site=eu", "hospital"]
