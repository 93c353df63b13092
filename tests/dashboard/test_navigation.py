"""Which pages a role is offered, and that every page can be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

import dashboard
from dashboard.navigation import ENTRIES, offered
from tests.dashboard.conftest import OpenPage
from tests.dashboard.fake_api import KEY, FakeApi

FOLDER = Path(dashboard.__file__).parent


def _titles(role: str | None) -> list[str]:
    return [entry.title for entry in offered(role)]


def test_every_screen_is_in_the_list_once() -> None:
    scripts = sorted(f"screens/{path.name}" for path in (FOLDER / "screens").glob("[a-z]*.py"))
    assert sorted(entry.script for entry in ENTRIES) == scripts


def test_no_page_has_icons_that_come_from_another_host() -> None:
    named = [path.name for path in FOLDER.rglob("*.py") if ":material/" in path.read_text()]
    assert named == []


def test_a_viewer_is_not_offered_what_it_may_not_use() -> None:
    assert "New job" not in _titles("viewer")
    assert "New job" in _titles("operator")
    assert _titles("admin") == [entry.title for entry in ENTRIES]


def test_while_the_role_is_not_known_every_address_leads_to_its_page() -> None:
    assert _titles(None) == [entry.title for entry in ENTRIES]


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_the_head_of_a_page_links_the_pages_of_the_role(
    fake_api: FakeApi, open_page: OpenPage, role: str
) -> None:
    fake_api.keys[KEY] = ("somebody", role)
    app = open_page()
    links = [link.label for link in app.page_link]
    assert links[: len(_titles(role))] == _titles(role)
    others = {entry.title for entry in ENTRIES} - set(_titles(role))
    assert not others & set(links)
