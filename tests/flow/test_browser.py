"""A person submits a job in the form and sees its curve grow, in a real browser."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

pytestmark = [pytest.mark.slow, pytest.mark.services]

expect.set_options(timeout=60_000)

# nothing of the browser's own talks to the network, so that every request seen is the page's
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def page() -> Iterator[Page]:
    """A page in Chromium, tall enough to show everything."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        message = "Chromium is not installed"
        if os.environ.get("FEDKRSO_REQUIRE_SERVICES") == "1":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        opened = browser.new_page(viewport={"width": 1440, "height": 2400})
        opened.set_default_timeout(60_000)
        yield opened
        browser.close()


def _fill(page: Page, field: str, value: str) -> None:
    box = page.locator(f".st-key-field-{field} input").first
    box.fill(value)
    box.press("Enter" if "combobox" in (box.get_attribute("role") or "") else "Tab")
    _settled(page)


def _settled(page: Page) -> None:
    """Waits until Streamlit has run the page for what was typed."""
    page.wait_for_timeout(200)
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def _watch(page: Page, curve: Locator, until: int) -> list[int]:
    """How many rounds the curve had, looked at until it has them all."""
    seen: list[int] = []
    while not seen or seen[-1] < until:
        expect(curve).to_contain_text("measured")
        found = re.search(r"(\d+) rounds? measured", curve.inner_text())
        seen += [int(found[1])] if found else []
        page.wait_for_timeout(500)
    return seen


def test_job_submitted_in_the_form_draws_its_curve(
    up: Any, page: Page, tiny_model: Path, tiny_data: Path
) -> None:
    elsewhere: list[str] = []
    page.on(
        "request",
        lambda r: elsewhere.append(r.url) if "127.0.0.1" not in r.url.split("/")[2] else None,
    )
    with up("--dashboard-port", "0") as service:
        page.goto(f"{service.dashboard}/new_job")
        expect(page.get_by_role("button", name="Submit job")).to_be_visible()
        _fill(page, "name", "from the browser")
        _fill(page, "model", str(tiny_model))
        _fill(page, "data-train", str(tiny_data))
        _fill(page, "clients-count", "2")
        _fill(page, "clients-per_round", "3")
        page.get_by_role("button", name="Submit job").click()
        # refused: the message stands beside the field
        expect(page.locator(".st-key-problem-clients-per_round")).to_contain_text("1 to 2")
        _settled(page)
        _fill(page, "clients-per_round", "2")
        _fill(page, "rounds-count", "6")
        _fill(page, "local-steps", "300")
        _fill(page, "local-max_length", "16")
        page.get_by_role("button", name="Submit job").click()
        expect(page).to_have_url(re.compile(r"/job\?job="))
        expect(page.get_by_role("heading", name="from the browser")).to_be_visible()
        # while the page is drawn anew, the old curve may stand beside the new one for a moment
        curve = page.locator(".st-key-chart-accuracy").first
        seen = _watch(page, curve, until=6)
        assert seen == sorted(seen)
        assert len(set(seen)) >= 3, seen  # it grew while the page was open, without a reload
        expect(page.locator(".st-key-job-state")).to_contain_text("done")
        expect(curve.locator("canvas, svg").first).to_be_visible()
        job_id = page.url.split("job=")[1]
        assert service.wait(job_id)["rounds_closed"] == 6
    assert elsewhere == []
