"""A person submits a job, sees its curve grow and takes the model home, in a real browser."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from transformers import AutoModelForSequenceClassification

from tests.flow.browser import chromium, elsewhere, opened

pytestmark = [pytest.mark.slow, pytest.mark.services]


@pytest.fixture
def page() -> Iterator[Page]:
    """A page in Chromium, tall enough to show everything."""
    with chromium() as browser:
        yield opened(browser)


def _fill(page: Page, field: str, value: str) -> None:
    box = page.locator(f".st-key-field-{field} input").first
    box.fill(value)
    box.press("Enter" if "combobox" in (box.get_attribute("role") or "") else "Tab")
    _settled(page)


def _settled(page: Page) -> None:
    """Waits until Streamlit has run the page for what was typed."""
    page.wait_for_timeout(200)
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def _upload(page: Page, rows: Path) -> None:
    """Rows from this machine for the training data."""
    page.locator(".st-key-upload-data-train button").first.click()
    page.locator(".st-key-rows-of-data-train input[type=file]").set_input_files(rows)
    expect(page.get_by_text("train.jsonl: 300 rows; text, label")).to_be_visible()
    page.keyboard.press("Escape")
    _settled(page)


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
    up: Any, page: Page, tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> None:
    others = elsewhere(page)
    with up("--dashboard-port", "0") as service:
        page.goto(f"{service.dashboard}/new_job")
        expect(page.get_by_role("button", name="Submit job")).to_be_visible()
        _fill(page, "name", "from the browser")
        _fill(page, "model", str(tiny_model))
        _upload(page, tiny_data)
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
        _compare(page, f"{service.dashboard}/compare?jobs={job_id}")
        page.go_back()
        expect(page.get_by_role("heading", name="from the browser")).to_be_visible()
        _take_the_model_home(page, tmp_path)
    assert others == []


def _compare(page: Page, address: str) -> None:
    """The job by rounds, bytes and time, and its results as a table to take away."""
    page.goto(address)
    expect(page.get_by_text("Pareto-best by")).to_contain_text("from the browser")
    expect(page.locator("[class*=st-key-chart]").locator("canvas, svg").first).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Results (CSV)").click()
    results = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert len(results) == 2
    assert "from the browser" in results[1]


def _take_the_model_home(page: Page, folder: Path) -> None:
    """What the page lets download is a model that loads."""
    page.get_by_role("button", name="Prepare model download").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download model of round 6 (zip)").click()
    assert download.value.suggested_filename == "from-the-browser-round-6.zip"
    download.value.save_as(folder / "model.zip")
    with zipfile.ZipFile(folder / "model.zip") as archive:
        archive.extractall(folder / "taken")
    model = AutoModelForSequenceClassification.from_pretrained(folder / "taken" / "model")
    assert model.config.num_labels == 3
