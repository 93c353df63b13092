"""The page that compares jobs."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.dashboard.conftest import OpenPage
from tests.dashboard.fake_api import FakeApi

PAGE = "screens/compare.py"


def _two_jobs(fake_api: FakeApi) -> list[str]:
    jobs = [fake_api.add_job({"name": name, "rounds": 2}) for name in ("one", "two")]
    for job in jobs:
        fake_api.close_round(job)
        fake_api.close_round(job)
    return jobs


def _texts(app: AppTest) -> str:
    return "\n".join(item.value for item in [*app.markdown, *app.caption])


def test_without_jobs_it_says_how_to_choose_some(open_page: OpenPage) -> None:
    app = open_page(PAGE)
    assert "Choose two or more jobs" in app.info[0].value
    assert not app.exception


def test_the_jobs_of_the_address_are_drawn_in_words_and_table(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    app = open_page(PAGE, jobs=",".join(_two_jobs(fake_api)))
    assert not app.exception
    assert app.multiselect(key="compare-jobs").value == ["job1", "job2"]
    assert "one 0.700 after 2 rounds; two 0.700 after 2 rounds." in _texts(app)
    assert list(app.dataframe[0].value["Job"]) == ["one", "two"]
    assert "Pareto-best" in _texts(app)


def test_what_is_chosen_goes_into_the_address(fake_api: FakeApi, open_page: OpenPage) -> None:
    _two_jobs(fake_api)
    app = open_page(PAGE)
    app.multiselect(key="compare-jobs").select("job2").run()
    assert app.query_params["jobs"] == "job2"
    app.multiselect(key="compare-jobs").unselect("job2").run()
    assert "jobs" not in app.query_params


def test_going_back_to_another_address_shows_its_jobs(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    _two_jobs(fake_api)
    app = open_page(PAGE, jobs="job1")
    app.multiselect(key="compare-jobs").select("job2").run()
    app.query_params["jobs"] = "job1"
    assert app.run().multiselect(key="compare-jobs").value == ["job1"]


def test_a_job_that_is_gone_is_named_and_the_rest_is_compared(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    _two_jobs(fake_api)
    app = open_page(PAGE, jobs="job1,gone")
    assert "`gone`" in app.warning[0].value
    assert "one 0.700 after 2 rounds." in _texts(app)


def test_another_metric_can_be_chosen(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page(PAGE, jobs=",".join(_two_jobs(fake_api)))
    app.selectbox(key="compare-by").select("loss").run()
    assert "Loss against rounds" in _texts(app)
    assert not app.exception


def test_a_server_in_trouble_is_a_message(fake_api: FakeApi, open_page: OpenPage) -> None:
    fake_api.down = True
    app = open_page(PAGE, jobs="job1")
    assert app.error[0].value == "The database is locked"
    assert not app.exception
