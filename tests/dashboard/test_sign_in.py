"""Signing in with a key, and what a role is not offered."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from tests.dashboard.conftest import OpenPage
from tests.dashboard.fake_admin import SECRET
from tests.dashboard.fake_api import KEY, FakeApi

TYPED = "fk_of-vera"


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch, fake_api: FakeApi) -> None:
    monkeypatch.delenv("FEDKRSO_API_KEY")
    fake_api.keys[TYPED] = ("vera", "viewer")
    fake_api.keys["fk_of-oskar"] = ("oskar", "operator")


def sign_in(app: AppTest, key: str = TYPED) -> AppTest:
    app.text_input(key="sign-in-key").input(key)
    return app.button[0].click().run()


def labels(app: AppTest) -> set[str]:
    return {link.label.strip("*") for link in app.page_link} | {b.label for b in app.button}


def everything(app: AppTest) -> str:
    """What the server sends to the browser."""
    return " ".join(str(getattr(element, "proto", "")) for element in app)


def test_without_a_key_there_is_nothing_but_the_sign_in(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    fake_api.add_job({"name": "hidden"})
    app = open_page()
    assert app.title[0].value == "Sign in"
    assert labels(app) == {"Sign in"}
    assert "hidden" not in everything(app)


def test_a_known_key_opens_the_page_that_was_asked_for(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    job = fake_api.add_job({"name": "mine"})
    app = sign_in(open_page("screens/job.py", job=job))
    assert not app.exception
    assert app.title[0].value == "mine"
    assert any("vera · viewer" in caption.value for caption in app.caption)


def test_an_unknown_key_is_refused_and_forgotten(open_page: OpenPage) -> None:
    app = sign_in(open_page(), "fk_wrong")
    assert app.error[0].value == "This key is not known"
    assert app.title[0].value == "Sign in"
    assert "api-key" not in app.session_state


def test_the_key_is_in_nothing_that_the_browser_gets(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    job = fake_api.add_job({"name": "mine"})
    for page in ("screens/jobs.py", "screens/job.py"):
        app = sign_in(open_page(page, job=job))
        assert "mine" in everything(app)
        assert TYPED not in everything(app)
        assert TYPED not in str(app.query_params)


def test_a_viewer_is_offered_no_submit_and_no_cancel(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    job = fake_api.add_job({"name": "mine"})
    seen = labels(sign_in(open_page()))
    assert not {"New job", "Start a new job"} & seen
    assert "Yes, cancel it" not in labels(sign_in(open_page("screens/job.py", job=job)))


def test_an_operator_is_offered_both(fake_api: FakeApi, open_page: OpenPage) -> None:
    job = fake_api.add_job({"name": "mine"})
    seen = labels(sign_in(open_page(), "fk_of-oskar"))
    assert {"New job", "Start a new job"} <= seen
    assert "Yes, cancel it" in labels(sign_in(open_page("screens/job.py", job=job), "fk_of-oskar"))


def test_signing_out_forgets_the_key_and_what_was_seen(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    job = fake_api.add_job({"name": "mine"})
    app = sign_in(open_page("screens/job.py", job=job))
    app.button(key="sign-out").click().run()
    assert app.title[0].value == "Sign in"
    assert "api-key" not in app.session_state
    assert f"snapshot-{job}" not in app.session_state


def test_with_a_key_in_the_environment_nothing_is_asked(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDKRSO_API_KEY", "secret")
    app = open_page()
    assert app.title[0].value == "Jobs"
    assert "Sign out" not in labels(app)


@pytest.fixture
def admins_dashboard(fake_api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """The dashboard has an admin's key of its own, as `fedkrso up` starts it."""
    monkeypatch.setenv("FEDKRSO_API_KEY", KEY)
    fake_api.admin.answer("POST", "/v1/users", {"name": "vera", "role": "viewer"}, {})
    return fake_api


def sign_in_by_name(app: AppTest, name: str) -> AppTest:
    app.text_input(key="sign-in-name").input(name)
    return app.button(key="sign-in-as").click().run()


def test_a_user_signs_in_by_name_and_may_do_what_that_user_may(
    admins_dashboard: FakeApi, open_page: OpenPage
) -> None:
    job = admins_dashboard.add_job({"name": "mine"})
    app = sign_in_by_name(open_page("screens/job.py", job=job), "vera")
    assert not app.exception
    assert any("vera · viewer" in caption.value for caption in app.caption)
    assert admins_dashboard.who["user"] == "vera"
    assert not {"New job", "Admin", "Sign in"} & labels(app)
    assert SECRET not in everything(app)
    (made,) = admins_dashboard.admin.keys.values()
    assert (made["user"], made["label"]) == ("vera", "dashboard")
    app.button(key="sign-out").click().run()
    assert admins_dashboard.admin.keys[made["id"]]["state"] == "revoked"
    assert any("admin" in caption.value for caption in app.caption)


def test_nobody_signs_in_by_a_name_that_is_no_users(
    admins_dashboard: FakeApi, open_page: OpenPage
) -> None:
    app = sign_in_by_name(open_page(), "ghost")
    assert "'ghost' is not known" in app.error[0].value
    assert "api-key" not in app.session_state


def test_by_name_only_an_admins_dashboard_lets_in(
    admins_dashboard: FakeApi, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDKRSO_API_KEY", "fk_of-oskar")
    assert "Sign in" not in labels(open_page())
    monkeypatch.delenv("FEDKRSO_API_KEY")
    with pytest.raises(KeyError):
        open_page().text_input(key="sign-in-name")


def test_a_job_of_a_project_says_whose_it_is(fake_api: FakeApi, open_page: OpenPage) -> None:
    job = fake_api.add_job({"name": "mine"})
    fake_api.jobs[job] |= {"project": "reviews", "created_by": "oskar"}
    captions = " ".join(item.value for item in sign_in(open_page()).caption)
    assert "reviews, by oskar" in captions
