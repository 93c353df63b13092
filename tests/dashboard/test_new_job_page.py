"""The form of a new job."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.dashboard.conftest import OpenPage
from tests.dashboard.fake_api import FakeApi

PAGE = "screens/new_job.py"


def _labels(app: AppTest) -> set[str]:
    inputs = [*app.text_input, *app.number_input, *app.selectbox, *app.checkbox]
    return {item.label for item in inputs}


def _red(app: AppTest) -> list[str]:
    return [item.value for item in app.markdown if item.value.startswith(":red[")]


def test_submitting_the_defaults_leads_to_the_page_of_the_job(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    app = open_page(PAGE)
    app.text_input(key="field-name").input("mine")
    app.number_input(key="field-rounds.count").set_value(2)
    app.button(key="submit-job").click().run()
    assert not app.exception
    assert fake_api.jobs["job1"]["spec"]["rounds"]["count"] == 2
    assert app.title[0].value == "mine"
    assert app.query_params["job"] == "job1"


def test_a_buffered_job_can_be_submitted(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page(PAGE)
    app.selectbox(key="field-rounds.mode").select("buffered")
    app.number_input(key="field-rounds.buffer").set_value(9)
    app.button(key="submit-job").click().run()
    assert any("9 of 4 clients at work" in text for text in _red(app))
    app.number_input(key="field-rounds.buffer").set_value(3)
    app.button(key="submit-job").click().run()
    assert not app.exception
    rounds = fake_api.jobs["job1"]["spec"]["rounds"]
    assert (rounds["mode"], rounds["buffer"]) == ("buffered", 3)


def test_the_project_is_asked_for_where_there_is_a_choice(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    assert "Project" not in _labels(open_page(PAGE))
    fake_api.projects = ["archive", "default", "reviews"]
    app = open_page(PAGE)
    assert app.selectbox(key="project").value == "default"
    app.selectbox(key="project").select("reviews").run()
    app.button(key="submit-job").click().run()
    assert fake_api.jobs["job1"]["project"] == "reviews"


def test_another_method_brings_other_inputs(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page(PAGE)
    assert {"Rank", "Seeds", "Shared"} <= _labels(app)
    app.selectbox(key="field-method.name").select("fedavg").run()
    assert "Rank" not in _labels(app)
    app.number_input(key="field-method.momentum-fedavg").set_value(0.5)
    app.button(key="submit-job").click().run()
    assert fake_api.jobs["job1"]["spec"]["method"] == {"name": "fedavg", "momentum": 0.5}


def test_another_division_brings_other_inputs(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page(PAGE)
    app.selectbox(key="field-partition.kind").select("by-column").run()
    assert "Column" in _labels(app)
    assert "Alpha" not in _labels(app)
    app.button(key="submit-job").click().run()
    assert fake_api.jobs["job1"]["spec"]["partition"] == {"kind": "by-column", "column": "group"}


def test_precision_memory_and_budget_go_with_the_job(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    app = open_page(PAGE)
    assert app.multiselect(key="field-local.memory").value == [
        "dropout-bits",
        "attention-recompute",
    ]
    assert "keeps dropout masks as bits" in app.multiselect(key="field-local.memory").help
    app.multiselect(key="field-local.memory").select("checkpointing")
    app.selectbox(key="field-local.precision").select("bf16")
    app.text_input(key="field-budget.memory").input("6 GB")
    app.number_input(key="field-budget.seconds").set_value(90.0)
    app.button(key="submit-job").click().run()
    spec = fake_api.jobs["job1"]["spec"]
    assert spec["local"]["precision"] == "bf16"
    assert spec["local"]["memory"] == ["dropout-bits", "attention-recompute", "checkpointing"]
    assert spec["budget"] == {"bytes_up": None, "memory": 6 * 10**9, "seconds": 90.0}


def test_memory_options_that_exclude_each_other_are_told_beside_the_input(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    app = open_page(PAGE)
    chosen = ["checkpointing", "checkpointing-mlp"]
    app.multiselect(key="field-local.memory").set_value(chosen)
    app.button(key="submit-job").click().run()
    assert "**Memory options**" in app.error[0].value
    assert any("give one of the two" in text for text in _red(app))
    assert not fake_api.jobs


def test_a_refused_job_says_what_is_wrong_above_and_beside_the_field(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    app = open_page(PAGE)
    app.number_input(key="field-clients.per_round").set_value(9)
    app.button(key="submit-job").click().run()
    assert "**Clients in a round**" in app.error[0].value
    assert r":red[9 of 8 clients; allowed\: 1 to 8]" in _red(app)
    assert app.number_input(key="field-clients.per_round").value == 9
    assert not fake_api.jobs


def test_the_message_goes_when_the_field_is_mended(open_page: OpenPage) -> None:
    app = open_page(PAGE)
    app.text_input(key="field-name").input("")
    app.button(key="submit-job").click().run()
    assert any("at least 1 character" in text for text in _red(app))
    app.text_input(key="field-name").input("mine").run()
    assert not any("at least 1 character" in text for text in _red(app))
    app.button(key="submit-job").click().run()
    assert app.title[0].value == "mine"


def test_a_number_outside_of_its_bounds_is_told_at_once(open_page: OpenPage) -> None:
    app = open_page(PAGE)
    app.number_input(key="field-rounds.count").set_value(0).run()
    assert _red(app) == [r":red[0\: allowed is at least 1, at most 100000]"]


def test_a_server_that_is_away_is_a_message_until_it_is_back(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    fake_api.down = True
    app = open_page(PAGE)
    assert app.error[0].value == "The database is locked"
    fake_api.down = False
    app.run()
    assert app.button(key="submit-job").label == "Submit job"
