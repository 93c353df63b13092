"""What can be done with a job on its page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import words
from tests.dashboard.conftest import OpenPage
from tests.dashboard.fake_api import FakeApi

PAGE = "screens/job.py"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def _keys(app: AppTest) -> set[str]:
    """Of the buttons of the job, not of who is signed in."""
    return {str(button.key) for button in app.button} - {"sign-in-as"}


@pytest.mark.parametrize(
    ("state", "offered"),
    [
        ("queued", {"pause-job", "confirm-cancel", "confirm-priority", "confirm-clone"}),
        ("running", {"pause-job", "confirm-cancel", "confirm-priority", "confirm-clone"}),
        ("paused", {"resume-job", "confirm-cancel", "confirm-priority", "confirm-clone"}),
        ("failed", {"retry-job", "confirm-clone", "confirm-delete"}),
        ("cancelled", {"confirm-clone", "confirm-delete"}),
    ],
)
def test_only_what_the_state_allows_is_offered(
    fake_api: FakeApi, open_page: OpenPage, state: str, offered: set[str]
) -> None:
    app = open_page(PAGE, job=fake_api.add_job({"name": "demo"}, state))
    assert not app.exception
    assert _keys(app) == offered


def test_a_job_is_paused_and_resumed(fake_api: FakeApi, open_page: OpenPage) -> None:
    job = fake_api.add_job({"name": "demo"})
    app = open_page(PAGE, job=job)
    app.button(key="pause-job").click().run()
    assert fake_api.jobs[job]["state"] == "paused"
    app.button(key="resume-job").click().run()
    assert fake_api.jobs[job]["state"] == "running"


def test_a_failed_job_is_retried(fake_api: FakeApi, open_page: OpenPage) -> None:
    job = fake_api.add_job({"name": "demo"}, "failed")
    open_page(PAGE, job=job).button(key="retry-job").click().run()
    assert fake_api.jobs[job]["state"] == "queued"


def test_a_priority_is_changed(fake_api: FakeApi, open_page: OpenPage) -> None:
    job = fake_api.add_job({"name": "demo"})
    app = open_page(PAGE, job=job)
    app.number_input(key="priority").set_value(7)
    app.button(key="confirm-priority").click().run()
    assert fake_api.jobs[job]["priority"] == 7


def test_a_clone_is_submitted_and_shown(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page(PAGE, job=fake_api.add_job({"name": "demo"}, "cancelled"))
    app.text_input(key="clone-name").set_value("again")
    app.text_input(key="clone-seed").set_value("5")
    app.button(key="confirm-clone").click().run()
    assert not app.exception
    assert fake_api.jobs["job2"]["name"] == "again"
    assert fake_api.jobs["job2"]["spec"]["seed"] == 5
    assert app.title[0].value == "again"


def test_a_clone_that_is_refused_says_why(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page(PAGE, job=fake_api.add_job({"name": "demo"}, "cancelled"))
    app.text_input(key="clone-seed").set_value("many")
    app.button(key="confirm-clone").click().run()
    assert app.error
    assert list(fake_api.jobs) == ["job1"]


def test_a_job_page_shows_since_when_and_until_when_it_waits(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    job = fake_api.add_job({"name": "demo"})
    since = datetime.now(UTC) - timedelta(minutes=4)
    wait = {"what": "client 7", "since": since.isoformat(), "client": 7}
    fake_api.jobs[job]["waiting"] = [wait]
    app = open_page(PAGE, job=job)
    assert any("client 7 \\(for 4m" in item.value for item in app.markdown)


def test_what_is_waited_for_has_its_times_in_words() -> None:
    since = (NOW - timedelta(seconds=40)).isoformat()
    until = NOW + timedelta(minutes=5)
    wait = {"what": "round 1", "since": since, "until": until.isoformat()}
    assert words.waits({"waiting": [wait]}, NOW) == ["round 1 (for 40s, 5m 00s left)"]
    late = NOW + timedelta(minutes=6)
    assert words.waits({"waiting": [wait]}, late) == ["round 1 (for 6m 40s, 1m 00s overdue)"]
