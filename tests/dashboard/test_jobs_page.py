"""The list of jobs."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.dashboard.conftest import OpenPage
from tests.dashboard.fake_api import FakeApi


def _links(app: AppTest) -> list[str]:
    return [link.label.strip("*") for link in app.page_link]


def test_without_jobs_the_page_says_how_to_start_one(open_page: OpenPage) -> None:
    app = open_page()
    assert "There is no job yet" in app.info[0].value
    assert "/v1/jobs" in app.code[0].value


def test_a_job_shows_its_state_progress_and_figures(fake_api: FakeApi, open_page: OpenPage) -> None:
    job = fake_api.add_job({"name": "first"})
    fake_api.close_round(job)
    app = open_page()
    assert "first" in _links(app)
    texts = " ".join(item.value for item in app.markdown)
    for text in ("running", "0.400", "400 kB", "1.3 MB", "315 MB"):
        assert text in texts
    assert app.get("progress")[0].proto.text == "round 2 of 6"


def test_a_name_with_markdown_is_shown_as_it_is(fake_api: FakeApi, open_page: OpenPage) -> None:
    fake_api.add_job({"name": "![x](http://a.b/c.png)"})
    assert r"\!\[x\]\(http\://a\.b/c\.png\)" in _links(open_page())


def test_the_filter_shows_jobs_of_one_state(fake_api: FakeApi, open_page: OpenPage) -> None:
    fake_api.add_job({"name": "runs"})
    fake_api.add_job({"name": "waits"}, "queued")
    app = open_page()
    app.selectbox(key="jobs-state").select("queued").run()
    assert "waits" in _links(app)
    assert "runs" not in _links(app)
    app.selectbox(key="jobs-state").select("failed").run()
    assert app.info[0].value == "No job is failed."


def test_older_jobs_are_a_click_away(fake_api: FakeApi, open_page: OpenPage) -> None:
    for number in range(25):
        fake_api.add_job({"name": f"job number {number}"})
    app = open_page()
    app.button[0].click().run()
    assert "job number 0" in _links(app)
    app.button[0].click().run()
    assert "job number 24" in _links(app)


def test_a_server_in_trouble_is_a_message_and_the_list_comes_back(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    fake_api.add_job({"name": "first"})
    fake_api.down = True
    app = open_page()
    assert app.error[0].value == "The database is locked"
    assert not app.exception
    fake_api.down = False
    assert "first" in _links(app.run())
