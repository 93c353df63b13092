"""The page of admins."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from tests.dashboard.conftest import OpenPage
from tests.dashboard.fake_admin import SECRET
from tests.dashboard.fake_api import FakeApi

PAGE = "screens/admin.py"


def section(open_page: OpenPage, name: str) -> AppTest:
    app = open_page(PAGE)
    return app.radio(key="admin-section").set_value(name).run()


def said(app: AppTest) -> str:
    return " ".join(item.value for item in (*app.markdown, *app.caption)).replace("\\", "")


def test_parts_queue_and_workers_are_shown(open_page: OpenPage) -> None:
    app = open_page(PAGE)
    assert "database ok" in said(app)
    assert "3 for clients, 0 for coordinator" in said(app)
    assert "1 running, 2 done" in said(app)
    assert list(app.dataframe[0].value["Doing"]) == ["trains"]


def test_a_part_that_fails_says_why(fake_api: FakeApi, open_page: OpenPage) -> None:
    fake_api.admin.condition["checks"]["broker"] = "no answer for 3 s"
    fake_api.admin.condition["queues"] = {}
    app = open_page(PAGE)
    assert app.error[0].value == r"broker\: no answer for 3 s"
    assert "the broker does not answer" in said(app)


def test_a_key_is_shown_until_it_is_copied_and_can_be_revoked(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    app = section(open_page, "Keys")
    app.text_input(key="key-label").input("laptop")
    app.button(key="make-key").click().run()
    assert fake_api.admin.keys["key1"]["user"] == "admin"
    assert SECRET in [item.value for item in app.code]
    app.button(key="key-copied").click().run()
    assert not app.code
    assert "key-made" not in app.session_state
    app.button(key="confirm-revoke-key").click().run()
    assert list(app.dataframe[0].value["State"]) == ["revoked"]


def test_a_key_for_training_clients_belongs_to_nobody(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    app = section(open_page, "Keys")
    app.selectbox(key="key-for").set_value("training clients (worker)")
    app.button(key="make-key").click().run()
    made = fake_api.admin.keys["key1"]
    assert (made["role"], made["user"]) == ("worker", None)


def test_a_user_is_made_a_member_of_a_project_and_disabled(
    fake_api: FakeApi, open_page: OpenPage
) -> None:
    app = section(open_page, "Users and projects")
    app.text_input(key="user-name").input("ada")
    app.button(key="add-user").click().run()
    app.button(key="set-member").click().run()
    assert fake_api.admin.projects["default"]["members"] == ["ada"]
    app.button(key="set-member").click().run()
    assert fake_api.admin.projects["default"]["members"] == []
    app.selectbox(key="user-to-change").set_value("ada").run()
    app.checkbox(key="disabled-ada").check()
    app.button(key="save-user").click().run()
    assert fake_api.admin.users["ada"]["disabled"]
    assert fake_api.admin.users["ada"]["role"] == "operator"


def test_a_project_is_added(fake_api: FakeApi, open_page: OpenPage) -> None:
    app = section(open_page, "Users and projects")
    app.text_input(key="project-name").input("reviews")
    app.button(key="add-project").click().run()
    assert set(fake_api.admin.projects) == {"default", "reviews"}


def test_the_log_is_read_a_page_at_a_time_and_filtered(open_page: OpenPage) -> None:
    app = section(open_page, "Audit log")
    assert app.dataframe[0].value["On"].iloc[0] == "job120"
    app.button(key="audit-older").click().run()
    assert app.dataframe[0].value["On"].iloc[0] == "job70"
    app.text_input(key="audit-user").input("ada").run()
    assert app.dataframe[0].value["On"].iloc[0] == "job120"  # of another filter the first page
    assert set(app.dataframe[0].value["Who"]) == {"ada"}


def test_who_is_no_admin_is_not_offered_the_page(
    fake_api: FakeApi, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_api.keys["of-oskar"] = ("oskar", "operator")
    assert "Admin" in {link.label for link in open_page().page_link}
    monkeypatch.setenv("FEDKRSO_API_KEY", "of-oskar")
    assert "Admin" not in {link.label for link in open_page().page_link}


def test_a_lost_server_is_told(fake_api: FakeApi, open_page: OpenPage) -> None:
    fake_api.down = True
    app = open_page(PAGE)
    assert app.error[0].value == "The database is locked"
    assert not app.exception
