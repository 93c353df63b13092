"""The estimate beside the form of a new job."""

from __future__ import annotations

import time

from streamlit.testing.v1 import AppTest

from dashboard.components.estimate_panel import WAITING
from tests.dashboard.conftest import OpenPage
from tests.dashboard.fake_api import FakeApi

PAGE = "screens/new_job.py"


def _estimate(app: AppTest) -> AppTest:
    """Presses the button and waits as the page does."""
    app.button(key="estimate-job").click().run()
    for _ in range(100):
        if WAITING not in _captions(app):
            return app
        time.sleep(0.05)
        app.run()
    raise AssertionError("no answer came")


def _captions(app: AppTest) -> list[str]:
    return [item.value for item in app.caption]


def _texts(app: AppTest) -> str:
    return "\n".join(item.value for item in [*app.markdown, *app.caption])


def test_the_estimate_shows_a_client_in_a_round(open_page: OpenPage) -> None:
    app = _estimate(open_page(PAGE))
    assert not app.exception
    tiles = {tile.label: tile.value for tile in app.metric}
    assert tiles == {"Up": "1.0 MB", "Down": "2.0 MB", "Peak memory": "133 MB", "Training": "1.2s"}
    assert r"fedkrso · cpu, 1 thread · a client in a round" in _texts(app)
    assert "weights 90\\.0 MB, gradients 1\\.0 MB" in _texts(app)
    assert "`medium`: saves 25 % of the time, 0.09s for a step" in _texts(app)
    assert "`bf16`: takes 25 % longer, 0.15s for a step" in _texts(app)


def test_full_fine_tuning_stands_beside_it_without_asking(open_page: OpenPage) -> None:
    table = _estimate(open_page(PAGE)).dataframe[0].value
    assert list(table["Method"]) == ["fedkrso", "fedavg (full)"]
    assert list(table["Job (MB)"]) == [72, 72 * 90]


def test_once_asked_the_estimate_follows_the_form(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = _estimate(open_page(PAGE))
    fake_api.may_estimate.clear()
    app.number_input(key="field-rounds.count").set_value(3).run()
    assert WAITING in _captions(app)
    assert "the form as it was" in _texts(app)
    fake_api.may_estimate.set()
    while WAITING in _captions(app):
        app.run()
    assert "the form as it was" not in _texts(app)


def test_a_client_with_less_memory_than_the_job_takes_is_named(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    fake_api.access.add_client("small", hardware={"free_memory_bytes": 300_000_000})
    fake_api.access.add_client("large")
    app = open_page(PAGE)
    app.text_input(key="field-clients.external").input('{"min": 1}')
    app.number_input(key="field-clients.simulated").set_value(7)
    _estimate(app)
    (warning,) = [item.value for item in app.warning]
    assert "1 of 2 registered clients had less memory free than the 500 MB" in warning
    assert r"small \(300 MB\)" in warning


def test_nothing_is_asked_before_the_button_is_pressed(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    fake_api.may_estimate.clear()
    app = open_page(PAGE)
    app.number_input(key="field-rounds.count").set_value(3).run()
    assert not app.metric
    assert not app.button(key="estimate-job").disabled


def test_the_form_can_be_used_while_the_server_measures(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    fake_api.may_estimate.clear()
    app = open_page(PAGE)
    app.toggle(key="estimate-follows").set_value(False)
    app.button(key="estimate-job").click().run()
    assert app.button(key="estimate-job").disabled
    app.number_input(key="field-rounds.count").set_value(3).run()
    assert WAITING in _captions(app)
    fake_api.may_estimate.set()
    while WAITING in _captions(app):
        app.run()
    assert app.metric[0].value == "1.0 MB"
    assert "the form as it was" in _texts(app)


def test_all_methods_stand_side_by_side_when_asked_for(open_page: OpenPage) -> None:
    app = open_page(PAGE)
    app.toggle(key="estimate-all").set_value(True)
    app.text_input(key="field-budget.bytes_up").input("50MB")
    table = _estimate(app).dataframe[0].value
    assert list(table["Method"]) == ["fedkrso", "fedavg (full)"]
    assert list(table["Up (MB)"]) == [1, 90]
    assert r"**odd** cannot run this job: no layer matches" in _texts(app)
    assert ":green[**Upload of all clients** fits: 24.0 MB of 50MB]" in _texts(app)
    assert "**fedavg** does not fit into the budget" in _texts(app)


def test_a_job_that_cannot_run_is_told_beside_its_field(open_page: OpenPage) -> None:
    app = open_page(PAGE)
    app.text_input(key="field-budget.memory").input("much")
    _estimate(app)
    assert any("'much' is no size" in item.value for item in app.markdown)
    assert "**Memory of a client**" in app.error[0].value
    app.text_input(key="field-budget.memory").input("6GB")
    assert not _estimate(app).error


def test_a_server_that_is_away_is_a_message_in_the_panel(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    app = open_page(PAGE)
    fake_api.down = True
    _estimate(app)
    assert [item.value for item in app.error] == ["The database is locked"]
