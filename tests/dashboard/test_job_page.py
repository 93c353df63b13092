"""The page of one job."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import words
from dashboard.components.connection import REFRESH_S
from tests.dashboard.conftest import OpenPage
from tests.dashboard.fake_api import FakeApi

PAGE = "screens/job.py"


def _captions(app: AppTest) -> list[str]:
    return [item.value for item in app.caption]


def _tiles(app: AppTest) -> dict[str, str]:
    return {item.label: item.value for item in app.metric}


def _running(fake_api: FakeApi, closed: int = 2) -> str:
    job = fake_api.add_job({"name": "demo"})
    for _ in range(closed):
        fake_api.close_round(job)
    return job


def test_a_running_job_shows_where_it_is(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page(PAGE, job=_running(fake_api))
    assert app.title[0].value == "demo"
    assert app.get("progress")[0].proto.text == "round 3 of 6"
    assert any("client 7" in text for text in _captions(app))
    tiles = _tiles(app)
    assert (tiles["Accuracy"], tiles["Bytes up"], tiles["Bytes down"]) == (
        "0.700",
        "800 kB",
        "3.9 MB",
    )


def test_the_charts_grow_with_the_rounds(fake_api: FakeApi, open_page: OpenPage) -> None:
    job = _running(fake_api, closed=1)
    app = open_page(PAGE, job=job)
    assert "Accuracy 0.400 after round 1; 1 round measured." in _captions(app)
    fake_api.close_round(job)
    app.run()
    assert "Accuracy 0.700 after round 2; 2 rounds measured." in _captions(app)
    assert not app.exception


def test_the_clients_of_the_newest_or_a_chosen_round_are_shown(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    app = open_page(PAGE, job=_running(fake_api))
    rounds, clients = (item.value for item in app.dataframe)
    assert list(rounds["Round"]) == [3, 2, 1]
    assert clients["Doing"].iloc[1].startswith("training, step 4 of 10")
    app.selectbox(key="clients-round").set_value(1).run()
    assert set(app.dataframe[1].value["Doing"]) == {"done, update accepted"}


def test_the_clients_of_a_round_are_drawn_with_what_each_does(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    captions = _captions(open_page(PAGE, job=_running(fake_api)))
    assert any("4 clients: 1 done, 1 at work, 1 waiting, 1 failed" in text for text in captions)


def test_a_refresh_asks_at_most_twice_a_second(fake_api: FakeApi, open_page: OpenPage) -> None:
    job = _running(fake_api, closed=1)
    app = open_page(PAGE, job=job)
    for _ in range(4):
        fake_api.close_round(job)  # everything is new each time
        before = len(fake_api.requests)
        app.run()
        assert len(fake_api.requests) - before <= 2 * REFRESH_S
    app.run()  # curve and rounds take turns
    assert "Accuracy 0.880 after round 5; 5 rounds measured." in _captions(app)


def test_a_round_that_has_ended_is_read_once(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page(PAGE, job=_running(fake_api))
    app.selectbox(key="clients-round").set_value(1).run()
    app.run()
    assert len([path for path in fake_api.requests if path.endswith("rounds/1/clients")]) == 1


def test_events_are_read_once_and_shown_newest_first(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    job = _running(fake_api)
    app = open_page(PAGE, job=job)
    fake_api.close_round(job)
    app.run()
    (events,) = (item.value for item in app.markdown if "Round 1 closed" in item.value)
    assert [line.split("Round ")[1][0] for line in events.splitlines()] == ["3", "2", "1"]


def test_a_job_can_be_cancelled(fake_api: FakeApi, open_page: OpenPage) -> None:
    job = _running(fake_api)
    app = open_page(PAGE, job=job)
    app.button(key="confirm-cancel").click().run()
    assert fake_api.jobs[job]["state"] == "cancelled"
    with pytest.raises(KeyError):
        app.button(key="confirm-cancel")


def test_an_ended_job_can_be_deleted(fake_api: FakeApi, open_page: OpenPage) -> None:
    job = fake_api.add_job({"name": "demo"}, "failed")
    app = open_page(PAGE, job=job)
    app.button(key="confirm-delete").click().run()
    assert fake_api.jobs == {}
    assert app.title[0].value == "Jobs"


def test_a_job_that_runs_cannot_be_deleted(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page(PAGE, job=_running(fake_api))
    with pytest.raises(KeyError):
        app.button(key="confirm-delete")


def test_a_failed_job_says_why(fake_api: FakeApi, open_page: OpenPage) -> None:
    job = fake_api.add_job({"name": "demo"}, "failed")
    fake_api.jobs[job]["reason"] = "quorum not reached"
    said = open_page(PAGE, job=job).error[0].value
    assert said.startswith("quorum not reached\n")
    assert "retry" in said  # and what to do


def test_a_job_that_its_budget_ended_says_with_what(fake_api: FakeApi, open_page: OpenPage) -> None:
    job = fake_api.add_job({"name": "demo"}, "done")
    reason = "budget.bytes_up: 48.1 MB of 50.0 MB used"
    fake_api.jobs[job] |= {"reason": reason, "rounds_closed": 3}
    app = open_page(PAGE, job=job)
    assert app.get("progress")[0].proto.text == "3 of 6 rounds, stopped"
    assert app.warning[0].value == words.plain(f"Stopped: {reason}")
    assert not app.error


def test_a_model_is_prepared_once_and_then_offered(fake_api: FakeApi, open_page: OpenPage) -> None:
    fake_api.builds_to_wait = 2
    app = open_page(PAGE, job=_running(fake_api))
    assert not app.download_button
    app.button(key="prepare-model").click().run()
    assert app.download_button[0].label == "Download model of round 2 (zip)"
    app.run()
    assert fake_api.model_requests == 3


def test_a_lost_connection_is_told_and_hides_nothing(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    app = open_page(PAGE, job=_running(fake_api))
    fake_api.down = True
    app.run()
    assert app.error[0].value == "The database is locked"
    assert app.title[0].value == "demo"
    assert _tiles(app)["Accuracy"] == "0.700"


def test_an_unknown_job_is_a_message(open_page: OpenPage) -> None:
    app = open_page(PAGE, job="gone")
    assert app.error[0].value == "There is no job gone"
    assert not app.exception


def test_a_wrong_key_is_a_message_with_advice(
    fake_api: FakeApi, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = _running(fake_api)
    monkeypatch.setenv("FEDKRSO_API_KEY", "wrong")
    assert "FEDKRSO_API_KEY" in open_page(PAGE, job=job).error[0].value


def test_without_a_job_the_newest_are_offered(fake_api: FakeApi, open_page: OpenPage) -> None:
    _running(fake_api)
    app = open_page(PAGE)
    (offered,) = [button for button in app.button if button.label == "demo · running"]
    offered.click().run()
    assert app.title[0].value == "demo"


def test_the_job_file_is_there_to_copy(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page(PAGE, job=_running(fake_api))
    assert not app.code  # nothing is drawn for those who do not look
    app.session_state["job-file"] = True
    assert "name: demo" in app.run().code[0].value
