"""The page of external clients and invitations."""

from __future__ import annotations

import re

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.components.connection import REFRESH_S
from tests.dashboard.conftest import OpenPage
from tests.dashboard.fake_access import TOKEN, ago
from tests.dashboard.fake_api import FakeApi

PAGE = "screens/clients.py"


def texts(app: AppTest) -> str:
    """All that the page says."""
    return " ".join(item.value for item in (*app.markdown, *app.caption)).replace("\\", "")


def keys(app: AppTest) -> set[str]:
    return {str(button.key) for button in app.button}


def test_a_client_says_what_it_does_when_it_was_heard_of_and_what_it_runs_on(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    work = {"job": "j", "name": "demo", "round": 3, "client": 4, "step": 4, "steps": 10}
    fake_api.access.add_client("hospital-a", work=[work])
    shown = texts(open_page(PAGE))
    assert "hospital-a" in shown
    assert "default · site=eu" in shown
    assert "Trains round 3 of demo (step 4 of 10)" in shown
    assert re.search(r"heard \d+ s ago · version 0.1.0", shown)  # a busy machine takes its time
    assert "cuda · 8 threads · 11.2 GB free" in shown


def test_a_client_in_quarantine_says_why_and_is_released(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    reason = "not-finite: the update has 3 NaN"
    client = fake_api.access.add_client(
        "bank", state="quarantined", offences=5, offence=reason, quarantined_at=ago(120)
    )
    app = open_page(PAGE)
    assert "In quarantine since 2 min ago" in texts(app)
    assert reason in app.error[0].value.replace("\\", "")
    app.button(key=f"release-{client}").click().run()
    assert fake_api.access.clients[client]["state"] == "active"
    assert not app.error


def test_a_client_that_turned_a_job_down_says_why(fake_api: FakeApi, open_page: OpenPage) -> None:
    refusal = {"job": "j", "name": "study", "reason": "no consent", "at": ago(60)}
    fake_api.access.add_client("hospital-b", refuses=[refusal])
    assert "Turned down study: no consent" in texts(open_page(PAGE))


def test_labels_are_changed_and_wrong_ones_are_told(fake_api: FakeApi, open_page: OpenPage) -> None:
    client = fake_api.access.add_client("lab")
    app = open_page(PAGE)
    app.text_input(key=f"labels-{client}").input("site")
    app.button(key=f"save-labels-{client}").click().run()
    assert "site=eu, separated by commas" in app.error[0].value.replace("\\", "")
    app.text_input(key=f"labels-{client}").input("site=us, tier=1")
    app.button(key=f"save-labels-{client}").click().run()
    assert fake_api.access.clients[client]["labels"] == {"site": "us", "tier": "1"}


def test_a_client_is_revoked(fake_api: FakeApi, open_page: OpenPage) -> None:
    client = fake_api.access.add_client("lab")
    app = open_page(PAGE)
    app.button(key=f"revoke-{client}").click().run()
    assert fake_api.access.clients[client]["state"] == "revoked"
    assert f"revoke-{client}" not in keys(app)


def test_a_token_is_shown_until_it_is_copied_and_never_again(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    app = open_page(PAGE)
    app.text_input(key="invite-labels").input("site=eu")
    app.button(key="make-invitation").click().run()
    assert fake_api.access.invitations["invitation1"]["labels"] == {"site": "eu"}
    assert TOKEN in [item.value for item in app.code]
    app.button(key="token-copied").click().run()
    assert TOKEN not in [item.value for item in app.code]
    assert "invitation-made" not in app.session_state
    assert list(app.dataframe[0].value["State"]) == ["open"]


def test_an_open_invitation_is_revoked(fake_api: FakeApi, open_page: OpenPage) -> None:
    fake_api.access.answer("POST", "/v1/invitations", {"labels": {}})
    app = open_page(PAGE)
    app.button(key="confirm-uninvite").click().run()
    assert fake_api.access.invitations["invitation1"]["state"] == "revoked"
    assert "confirm-uninvite" not in keys(app)


def test_a_viewer_sees_clients_and_is_offered_nothing(
    fake_api: FakeApi, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_api.keys["of-vera"] = ("vera", "viewer")
    monkeypatch.setenv("FEDKRSO_API_KEY", "of-vera")
    fake_api.access.add_client("bank", state="quarantined", offences=5, offence="x")
    fake_api.access.answer("POST", "/v1/invitations", {"labels": {}})
    app = open_page(PAGE)
    assert "bank" in texts(app)
    assert not {key for key in keys(app) if key != "None"}


def test_without_clients_it_says_how_the_first_one_comes(open_page: OpenPage) -> None:
    app = open_page(PAGE)
    assert "No client has enrolled yet" in app.info[0].value.replace("\\", "")
    assert "fedkrso client enrol" in app.code[0].value


def test_clients_are_found_by_a_label_and_by_state(fake_api: FakeApi, open_page: OpenPage) -> None:
    fake_api.access.add_client("near", labels={"site": "eu"})
    fake_api.access.add_client("far", labels={"site": "us"}, heartbeat_at=ago(3600))
    app = open_page(PAGE)
    app.text_input(key="clients-search").input("site=us").run()
    assert "far" in texts(app)
    assert "**near**" not in texts(app)
    app.text_input(key="clients-search").input("")
    app.selectbox(key="clients-standing").set_value("ready").run()
    assert "**near**" in texts(app)
    assert "**far**" not in texts(app)


def test_a_lost_server_is_told(fake_api: FakeApi, open_page: OpenPage) -> None:
    fake_api.down = True
    app = open_page(PAGE)
    assert app.error[0].value == "The database is locked"
    assert not app.exception


def test_a_refresh_asks_at_most_twice_a_second(fake_api: FakeApi, open_page: OpenPage) -> None:
    fake_api.access.add_client("lab")
    app = open_page(PAGE)
    before = len(fake_api.requests)
    app.run()
    assert 0 < len(fake_api.requests) - before <= 2 * REFRESH_S
