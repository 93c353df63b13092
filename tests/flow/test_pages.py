"""Every page in a real browser against the real stack: who may see it, what it asks, what fails.

One service, one browser and one job for all of it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from cli import ports
from dashboard.components.connection import REFRESH_S
from dashboard.navigation import ENTRIES, FIRST, Entry
from tests.api.scrape import bearer, parsed
from tests.flow.browser import barriers, chromium, elsewhere, opened
from tests.flow.conftest import Service, environment_of, started, tiny_job

pytestmark = [pytest.mark.slow, pytest.mark.services]
ROOT = Path(__file__).parents[2]
Json = dict[str, Any]
WATCHED_S = 10


@dataclass(frozen=True)
class World:
    """The service, the browser, a job that is done, and a viewer's key."""

    service: Service
    browser: Browser
    job: str
    viewer: str


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_data: Path
) -> Iterator[World]:
    """Leases are short, so that a worker that died is noticed soon."""
    env = environment_of(tmp_path_factory.mktemp("pages") / "home") | {"FEDKRSO_LEASE_S": "3"}
    with started(env, "--dashboard-port", "0") as service, chromium() as browser:
        job = submit(service, tiny_job(tiny_model, tiny_data) | {"rounds": 2})
        service.wait(job)
        yield World(service, browser, job, viewers_key(service))


def submit(service: Service, spec: Json) -> str:
    with service.client() as http:
        return str(http.post("/v1/jobs", json=spec).raise_for_status().json()["id"])


def viewers_key(service: Service) -> str:
    with service.client() as http:
        http.post("/v1/users", json={"name": "vera", "role": "viewer"}).raise_for_status()
        http.put("/v1/projects/default/members/vera").raise_for_status()
        made = http.post("/v1/keys", json={"user": "vera"}).raise_for_status()
        return str(made.json()["key"])


def process_of(service: Service, name: str) -> psutil.Process:
    """The process that the supervisor started under a name: api, worker1."""
    family = psutil.Process(service.process.pid).children(recursive=True)
    return next(one for one in family if re.search(rf"\b{name}\b", " ".join(one.cmdline())))


def address_of(entry: Entry) -> str:
    """The first page is at "/" alone."""
    return "" if entry is FIRST else Path(entry.script).stem


def look(page: Page, address: str) -> None:
    """Opens an address and waits until the page is drawn and quiet."""
    page.goto(address)
    expect(page.get_by_role("heading", level=1).first).to_be_visible()
    page.wait_for_timeout(1500)


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (400, "dark")])
def test_every_page_is_open_to_all_and_asks_no_other_host(
    world: World, width: int, scheme: str
) -> None:
    page = opened(world.browser, width, scheme)
    others, found = elsewhere(page), {}
    for entry in ENTRIES:
        name = Path(entry.script).stem
        query = f"?job={world.job}" if name == "job" else ""
        look(page, f"{world.service.dashboard}/{address_of(entry)}{query}")
        found[name] = barriers(page)
        assert page.get_by_test_id("stException").count() == 0, name
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{name} is {wide} wide"
    page.close()
    assert {name: what for name, what in found.items() if what} == {}
    assert others == []


def test_the_first_page_has_a_name_too(world: World) -> None:
    """/jobs is what somebody types who knows the other pages' addresses."""
    page = opened(world.browser)
    look(page, f"{world.service.dashboard}/jobs")
    expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.url.rstrip("/") == world.service.dashboard.rstrip("/")
    page.close()


def test_an_open_page_asks_at_most_twice_a_second(
    world: World, tiny_model: Path, tiny_data: Path
) -> None:
    """Of each page with a live job, as the API counts the requests of its routes for users."""
    spec = tiny_job(tiny_model, tiny_data) | {"name": "long", "rounds": 500}
    job, page, found = submit(world.service, spec), opened(world.browser), {}
    for entry in ENTRIES:
        name = Path(entry.script).stem
        query = {"job": f"?job={job}", "compare": f"?jobs={job},{world.job}"}.get(name, "")
        look(page, f"{world.service.dashboard}/{address_of(entry)}{query}")
        before, began = asked(world.service), time.monotonic()
        page.wait_for_timeout(1000 * WATCHED_S)
        most = 2 * (time.monotonic() - began + REFRESH_S)  # one refresh more may begin in it
        found[name] = (asked(world.service) - before, most)
    page.close()
    with world.service.client() as http:
        assert http.get(f"/v1/jobs/{job}").json()["state"] == "running"
        http.post(f"/v1/jobs/{job}/cancel").raise_for_status()
    assert {name: pair for name, pair in found.items() if pair[0] > pair[1]} == {}
    for name in ("jobs", "job", "compare", "clients"):  # and they are live
        assert found[name][0] >= 2, found


def asked(service: Service) -> float:
    """Requests so far, but for those of training clients and of supervisors."""
    key = (service.home / "metrics_key").read_text().strip()
    with service.client() as http:
        samples = parsed(http.get("/metrics", headers=bearer(key))).samples
    return sum(
        count
        for (name, labels), count in samples.items()
        if name == "fedkrso_http_requests_total"
        and (route := dict(labels)["route"]).startswith("/v1/")
        and not route.startswith("/v1/assignments")
    )


@pytest.fixture
def locked_dashboard(world: World) -> Iterator[str]:
    """A dashboard of the service that has no key of its own."""
    port = ports.choose("127.0.0.1", 0)
    options = ["--server.headless=true", f"--server.port={port}", "--server.address=127.0.0.1"]
    env = world.service.environ | {"FEDKRSO_SERVER": world.service.url}
    command = [sys.executable, "-m", "dashboard"]
    process = subprocess.Popen([*command, *options], env=env, cwd=ROOT, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            if is_up(address):
                break
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def is_up(address: str) -> bool:
    try:
        return httpx.get(f"{address}/_stcore/health", trust_env=False).is_success
    except httpx.TransportError:
        return False


def test_a_wrong_key_opens_nothing_and_a_viewer_is_offered_what_they_may(
    world: World, locked_dashboard: str
) -> None:
    page = opened(world.browser)
    page.goto(f"{locked_dashboard}/job?job={world.job}")
    sign_in(page, "fk_wrong")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("heading", name="tiny")).to_have_count(0)
    sign_in(page, world.viewer)
    expect(page.get_by_role("heading", name="tiny")).to_be_visible()
    expect(page.get_by_text("vera · viewer")).to_be_visible()
    for name in ("New job", "Admin"):
        expect(page.locator(".st-key-pages").get_by_role("link", name=name)).to_have_count(0)
    for name in ("Cancel job", "Clone", "Delete job"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    assert world.viewer not in page.content()
    page.close()


def test_a_user_signs_in_by_name_where_the_dashboard_is_an_admins(world: World) -> None:
    page = opened(world.browser)
    page.goto(f"{world.service.dashboard}/")
    page.get_by_role("button", name="Sign in by name").click()
    page.get_by_label("User name").fill("vera")
    page.get_by_label("User name").press("Tab")
    page.locator(".st-key-sign-in-as button").click()
    expect(page.get_by_text("vera · viewer")).to_be_visible()
    expect(page.locator(".st-key-pages").get_by_role("link", name="Admin")).to_have_count(0)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("admin · admin")).to_be_visible()
    page.close()
    with world.service.client() as http:
        made = http.get("/v1/keys?user=vera").json()["items"]
    assert [key["state"] for key in made if key["label"] == "dashboard"] == ["revoked"]


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_a_page_outlives_a_worker_that_dies_and_an_api_that_starts_again(
    world: World, tiny_model: Path, tiny_data: Path
) -> None:
    spec = tiny_job(tiny_model, tiny_data) | {"name": "disturbed", "rounds": 2}
    spec["local"] = spec["local"] | {"steps": 150}
    job = submit(world.service, spec)
    page = opened(world.browser)
    page.goto(f"{world.service.dashboard}/job?job={job}")
    expect(page.get_by_text(re.compile("training, step")).or_(at_work(page)).first).to_be_visible()
    process_of(world.service, "worker1").kill()
    expect(page.locator(".st-key-events")).to_contain_text("lost its lease")
    process_of(world.service, "api").kill()
    expect(page.get_by_role("alert").first).to_contain_text("This page goes on trying")
    expect(page.get_by_role("heading", name="disturbed").first).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)  # it is there again
    assert world.service.wait(job, 240)["rounds_closed"] == 2
    expect(page.locator(".st-key-job-state").first).to_contain_text("done")  # without a reload
    page.close()


def at_work(page: Page) -> Any:
    return page.get_by_text(re.compile(r"\d at work"))
