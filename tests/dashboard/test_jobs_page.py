"""The list of jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from streamlit.testing.v1 import AppTest

from tests.dashboard.conftest import OpenPage
from tests.dashboard.fake_api import KEY, FakeApi


def _links(app: AppTest) -> list[str]:
    return [link.label.strip("*") for link in app.page_link]


def _figures(app: AppTest) -> str:
    return " ".join(str(item.proto.body) for item in app.get("html"))


def _tick(app: AppTest, *jobs: str) -> AppTest:
    for job in jobs:
        app.checkbox(key=f"tick-{job}").check()
    return app.run()


def test_without_jobs_the_page_says_how_to_start_one(open_page: OpenPage) -> None:
    app = open_page()
    assert "There is no job yet" in app.info[0].value
    assert "/v1/jobs" in app.code[0].value


def test_a_job_shows_its_state_progress_and_figures(fake_api: FakeApi, open_page: OpenPage) -> None:
    job = fake_api.add_job({"name": "first"})
    fake_api.close_round(job)
    app = open_page()
    assert "first" in _links(app)
    texts = _figures(app)
    assert "running" in " ".join(item.value for item in app.markdown)
    for text in ("0.400", "400 kB", "1.3 MB", "315 MB"):
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
    app.button(key="next-page").click().run()
    assert "job number 0" in _links(app)
    app.button(key="first-page").click().run()
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
    fake_api.down = True
    app.run()
    assert app.error
    assert "first" in _links(app)  # what was known stays


def test_a_row_says_who_started_the_job_and_how_long_it_takes(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    job = fake_api.add_job({"name": "first"})
    end = datetime.now(UTC) + timedelta(minutes=5, seconds=30)
    fake_api.jobs[job] |= {"created_by": "oskar", "eta": end.isoformat()}
    app = open_page()
    assert any("by oskar" in caption.value for caption in app.caption)
    assert "about 5m" in app.get("progress")[0].proto.text


def test_a_sparkline_says_in_words_where_it_begins_and_ends(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    job = fake_api.add_job({"name": "first"})
    fake_api.close_round(job)
    fake_api.close_round(job)
    drawn = _figures(open_page())
    assert 'alt="accuracy 0.400 in round 1, 0.700 in round 2"' in drawn


def test_jobs_are_found_and_sorted_by_name(fake_api: FakeApi, open_page: OpenPage) -> None:
    for name in ("bravo", "alpha", "other"):
        fake_api.add_job({"name": name})
    app = open_page()
    app.selectbox(key="jobs-sort").select("name").run()
    assert [name for name in _links(app) if name in ("alpha", "bravo")] == ["alpha", "bravo"]
    app.text_input(key="jobs-search").input("brav").run()
    assert "bravo" in _links(app)
    assert "alpha" not in _links(app)
    app.text_input(key="jobs-search").input("nothing").run()
    assert app.info[0].value == "No job fits the search."


def test_a_list_is_one_request_whatever_it_shows(fake_api: FakeApi, open_page: OpenPage) -> None:
    for number in range(20):
        fake_api.close_round(fake_api.add_job({"name": f"job {number}"}))
    app = open_page()
    before = len(fake_api.requests)
    app.run()
    assert [path for path in fake_api.requests[before:] if "jobs" in path] == ["/v1/jobs"]


def test_ticked_jobs_are_compared(fake_api: FakeApi, open_page: OpenPage) -> None:
    jobs = [fake_api.add_job({"name": name}) for name in ("one", "two", "three")]
    app = _tick(open_page(), jobs[0], jobs[2])
    app.button(key="compare-ticked").click().run()
    assert app.title[0].value == "Compare"
    assert set(app.query_params["jobs"].split(",")) == {jobs[0], jobs[2]}


def test_ticked_jobs_that_go_on_are_cancelled_and_the_others_stay(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    live, ended = fake_api.add_job({"name": "runs"}), fake_api.add_job({"name": "ended"}, "done")
    app = _tick(open_page(), live, ended)
    assert any("1 of the 2 ticked have ended already" in item.value for item in app.caption)
    app.button(key="confirm-cancel-ticked").click().run()
    assert fake_api.jobs[live]["state"] == "cancelled"
    assert fake_api.jobs[ended]["state"] == "done"
    assert any("1 job ticked" in item.value for item in app.caption)


def test_ticked_jobs_that_ended_are_deleted(fake_api: FakeApi, open_page: OpenPage) -> None:
    jobs = [fake_api.add_job({"name": name}, "done") for name in ("one", "two", "three")]
    app = _tick(open_page(), *jobs[:2])
    app.button(key="confirm-delete-ticked").click().run()
    assert list(fake_api.jobs) == [jobs[2]]
    assert not app.exception


def test_what_cannot_be_deleted_is_named_and_stays_ticked(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    job = fake_api.add_job({"name": "one"}, "done")
    app = _tick(open_page(), job)
    fake_api.down = True
    app.button(key="confirm-delete-ticked").click().run()
    assert "**one**: The database is locked" in [item.value for item in app.warning]
    assert app.checkbox(key=f"tick-{job}").value


def test_a_viewer_ticks_to_compare_and_no_more(fake_api: FakeApi, open_page: OpenPage) -> None:
    fake_api.keys[KEY] = ("vera", "viewer")
    job = fake_api.add_job({"name": "one"}, "done")
    app = _tick(open_page(), job)
    keys = {button.key for button in app.button}
    assert "compare-ticked" in keys
    assert not {"confirm-delete-ticked", "confirm-cancel-ticked"} & keys


def test_ticks_outlast_another_page_of_the_list(fake_api: FakeApi, open_page: OpenPage) -> None:
    jobs = [fake_api.add_job({"name": f"job {number}"}) for number in range(25)]
    app = _tick(open_page(), jobs[-1])
    app.button(key="next-page").click().run()
    assert any("1 job ticked" in item.value for item in app.caption)
    app.button(key="first-page").click().run()
    assert app.checkbox(key=f"tick-{jobs[-1]}").value
