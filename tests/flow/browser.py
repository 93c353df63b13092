"""A real Chromium, what it asks of whom, and axe, which comes with its package."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

PATIENCE_MS = 60_000
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
expect.set_options(timeout=PATIENCE_MS)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser of the machine; without one the test is skipped, in CI it fails."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        message = "Chromium is not installed"
        if os.environ.get("FEDKRSO_REQUIRE_SERVICES") == "1":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


def opened(browser: Browser, width: int = 1440, scheme: Any = "light") -> Page:
    """A page of its own session, tall enough to show everything."""
    page = browser.new_page(viewport={"width": width, "height": 2400}, color_scheme=scheme)
    page.set_default_timeout(PATIENCE_MS)
    return page


def elsewhere(page: Page) -> list[str]:
    """Fills with the addresses of other hosts that the page asks."""
    found: list[str] = []
    page.on("request", lambda r: found.append(r.url) if _is_of_another(r.url) else None)
    return found


def _is_of_another(url: str) -> bool:
    return not url.startswith(("data:", "blob:")) and "127.0.0.1" not in url.split("/")[2]


# the cells of Streamlit's tables are numbered, and so alike in two tables of a page; it is not ours
# to change, and WCAG 2.2 has dropped what it breaks
_NUMBERED = re.compile(r'id="glide-cell-\d+-\d+"')


def barriers(page: Page) -> list[str]:
    """What axe finds serious or critical on the page: rule and element."""
    found = Axe().run(page)["violations"]
    return [
        f"{one['id']} ({one['impact']}): {node['html'][:160]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
        if not (one["id"] == "duplicate-id-active" and _NUMBERED.search(node["html"]))
    ]
