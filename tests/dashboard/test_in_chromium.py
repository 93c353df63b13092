"""Pages in a real browser against the fake API: links, the way back, and what is asked for."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.dashboard.conftest import APP
from tests.dashboard.fake_api import KEY, FakeApi

pytestmark = [pytest.mark.slow, pytest.mark.services]

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
expect.set_options(timeout=60_000)


@pytest.fixture
def dashboard(fake_api: FakeApi) -> Iterator[str]:
    """The dashboard in a process of its own, against the fake API."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ("--server.headless=true", f"--server.port={port}", "--server.address=127.0.0.1")
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(APP), *options],
        env={**os.environ, "FEDKRSO_SERVER": fake_api.url, "FEDKRSO_API_KEY": KEY},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _await(f"{address}/_stcore/health")
        yield address
    finally:
        process.terminate()
        process.wait(10)


def _await(address: str, patience_s: float = 60) -> None:
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        try:
            if httpx.get(address).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(f"{address} does not answer")


@pytest.fixture
def page() -> Iterator[Page]:
    """A page in Chromium."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        if os.environ.get("FEDKRSO_REQUIRE_SERVICES") == "1":
            pytest.fail("Chromium is not installed")
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        opened = browser.new_page(viewport={"width": 1440, "height": 1600})
        opened.set_default_timeout(60_000)
        yield opened
        browser.close()


def _two_jobs(fake_api: FakeApi) -> list[str]:
    jobs = [fake_api.add_job({"name": name, "rounds": 2}) for name in ("first", "second")]
    for job in jobs:
        fake_api.close_round(job)
        fake_api.close_round(job)
    return jobs


def test_ticked_jobs_are_compared_and_the_way_back_leads_to_the_list(
    fake_api: FakeApi, dashboard: str, page: Page
) -> None:
    elsewhere: list[str] = []
    page.on(
        "request",
        lambda r: elsewhere.append(r.url) if "127.0.0.1" not in r.url.split("/")[2] else None,
    )
    jobs = _two_jobs(fake_api)
    page.goto(dashboard)
    spark = page.locator(f".st-key-job-{jobs[0]} img")
    expect(spark).to_have_attribute("alt", "accuracy 0.400 in round 1, 0.700 in round 2")
    for job in jobs:
        page.locator(f".st-key-tick-{job} label").click()
    expect(page.get_by_text("2 jobs ticked")).to_be_visible()
    page.locator(".st-key-compare-ticked button").click()
    expect(page).to_have_url(re.compile(r"/compare\?jobs="))
    chart = page.locator(".st-key-chart-compare-bytes")
    expect(chart).to_contain_text("0.700 after")
    expect(chart.locator("canvas, svg").first).to_be_visible()
    with page.expect_download() as kept:
        page.locator(".st-key-download-png button").click()
    assert kept.value.path().read_bytes().startswith(b"\x89PNG")
    page.go_back()
    expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
    assert elsewhere == []


def test_a_link_to_a_job_and_back(fake_api: FakeApi, dashboard: str, page: Page) -> None:
    jobs = _two_jobs(fake_api)
    page.goto(dashboard)
    page.get_by_role("link", name="first").click()
    expect(page).to_have_url(re.compile(rf"/job\?job={jobs[0]}"))
    expect(page.get_by_role("heading", name="first")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
    page.go_forward()
    expect(page.get_by_role("heading", name="first")).to_be_visible()


def test_an_open_list_asks_less_than_twice_a_second(
    fake_api: FakeApi, dashboard: str, page: Page
) -> None:
    _two_jobs(fake_api)
    page.goto(dashboard)
    expect(page.get_by_role("link", name="first")).to_be_visible()
    page.wait_for_timeout(2000)
    before = len(fake_api.requests)
    page.wait_for_timeout(8000)
    asked = len(fake_api.requests) - before
    assert 2 <= asked <= 2 * 8, asked
