"""The form of a new job."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from dashboard.words import plain
from tests.dashboard.conftest import OpenPage
from tests.dashboard.fake_api import FakeApi
from tests.dashboard.fake_uploads import upload

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


def test_the_division_shows_who_gets_which_rows(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = open_page(PAGE)
    app.button(key="show-division").click().run()
    said = [item.value for item in app.caption]
    told = "108 rows for 8 clients, 10 to 17 each; 5 rows to evaluate on; "
    assert told + "1 of 8 clients lack at least one of the labels." in said
    app.number_input(key="field-seed").set_value(3).run()
    assert any("it has changed since" in item.value for item in app.caption)
    assert not fake_api.jobs


def test_rows_that_cannot_be_divided_are_told_in_the_panel(open_page: OpenPage) -> None:
    app = open_page(PAGE)
    app.number_input(key="field-clients.count").set_value(60)
    app.button(key="show-division").click().run()
    assert any("60 clients cannot share 50 rows" in text for text in _red(app))
    assert not app.exception


def test_the_job_can_be_copied_as_yaml_curl_and_python(open_page: OpenPage) -> None:
    app = open_page(PAGE)
    file, command, program = (block.value for block in app.code)
    assert file.startswith("name: demo")
    assert command.startswith("curl -X POST")
    assert "httpx.post" in program
    assert all("secret" not in text for text in (file, command, program))


ROWS = b'{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n'


def _choose(app: AppTest, field: str, name: str, content: bytes) -> None:
    app.file_uploader(key=f"rows-of-{field}").set_value((name, content, "text/plain")).run()


def test_uploaded_rows_are_what_the_job_is_trained_on(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    app = open_page(PAGE)
    app.file_uploader(key="rows-of-data.train").set_value(
        ("reviews.jsonl", ROWS, "application/jsonl")
    ).run()
    assert not app.exception
    source = fake_api.uploads.items[0]["source"]
    assert app.selectbox(key="field-data.train").value == source
    assert plain("reviews.jsonl: 2 rows; text, label") in [item.value for item in app.caption]
    app.button(key="show-division").click().run()
    app.button(key="submit-job").click().run()
    assert not app.exception
    assert fake_api.jobs["job1"]["spec"]["data"]["train"] == source


def test_rows_to_validate_on_are_uploaded_to_the_project_that_is_chosen(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    fake_api.projects = ["default", "reviews"]
    app = open_page(PAGE)
    app.selectbox(key="project").select("reviews").run()
    app.file_uploader(key="rows-of-data.validation").set_value(
        ("held.jsonl", ROWS, "application/jsonl")
    ).run()
    assert fake_api.uploads.items[0]["project"] == "reviews"
    assert app.text_input(key="field-data.validation").value == fake_api.uploads.items[0]["source"]


def test_rows_that_the_server_cannot_read_are_told_beside_the_file(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    app = open_page(PAGE)
    app.file_uploader(key="rows-of-data.train").set_value(
        ("notes.jsonl", b"no rows", "text/plain")
    ).run()
    assert any(plain("notes.jsonl cannot be read") in text for text in _red(app))
    assert app.selectbox(key="field-data.train").value == "pydocs"
    assert not fake_api.uploads.items


def test_rows_that_were_uploaded_before_can_be_picked(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    old = upload(ROWS, "old.jsonl")
    fake_api.uploads.items.append(old)
    app = open_page(PAGE)
    app.selectbox(key="field-data.train").select(old["source"]).run()
    assert plain("old.jsonl: 2 rows; text, label") in [item.value for item in app.caption]
