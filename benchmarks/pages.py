"""How long pages take in a browser until their charts are drawn, and how smooth they stay.

    python benchmarks/pages.py [--rounds 1000 --clients 200 --jobs 100 --repeats 5]

Fills an SQLite database in a temporary folder with one large job (as job_page.py does) and with
many of 60 rounds to compare, starts one API process and one dashboard on it and opens the pages in
Chromium: each time in a new context, so with nothing in its cache, and again in the same context.
A page is open when every chart on it has been drawn. Frames are timed by the browser for five
seconds while the page is scrolled up and down and the pointer moves over the charts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import job_page
from job_page import JOB, KEY
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from cli import ports

ROOT = Path(__file__).parents[1]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
COMPARED_ROUNDS, COMPARED_CLIENTS = 60, 4
PAGES = {"job": (f"job?job={JOB}", 6), "compare": ("compare?jobs={jobs}", 4)}
DRAWN = """(count) => [...document.querySelectorAll('[class*="st-key-chart-"]')].filter(
    chart => chart.querySelector('canvas, svg.marks')).length >= count"""
FRAMES = """(seconds) => new Promise(done => {
    const area = document.querySelector('[data-testid="stMain"]'), times = [], began = performance.now()
    const step = now => {
        times.push(now)
        area.scrollTop = 400 * (1 - Math.cos((now - began) / 600))
        if (now - began < 1000 * seconds) requestAnimationFrame(step)
        else done(times.slice(1).map((at, n) => at - times[n]))
    }
    requestAnimationFrame(step)
})"""  # noqa: E501


def main() -> None:
    """Prints seconds until the charts are there, and milliseconds of frames."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FEDKRSO_HOME"] = folder
        os.environ["FEDKRSO_DATABASE_URL"] = f"sqlite:///{folder}/pages.db"
        os.environ["FEDKRSO_BOOTSTRAP_API_KEY"] = KEY
        jobs = fill(given)
        with dashboard() as address, chromium() as browser:
            for name, (path, charts) in PAGES.items():
                url = f"{address}/{path.format(jobs=','.join(jobs))}"
                measure(browser, name, url, charts, given.repeats)


def fill(given: argparse.Namespace) -> list[str]:
    """The database with all jobs; the ids of those that are compared."""
    from api.db import migrate
    from api.db.session import engine_of
    from api.settings import settings

    migrate.upgrade(settings().database)
    engine = engine_of(settings().database)
    job_page.fill(engine, given.rounds, given.clients)
    jobs = [f"compared{n:04}" for n in range(given.jobs)]
    for job in jobs:
        job_page.fill(engine, COMPARED_ROUNDS, COMPARED_CLIENTS, job)
    return jobs


@contextmanager
def dashboard() -> Iterator[str]:
    """The address of a dashboard on an API, both in processes of their own."""
    api, pages = (ports.choose("127.0.0.1", 0) for _ in range(2))
    server = f"http://127.0.0.1:{api}"
    env = {"FEDKRSO_SERVER": server, "FEDKRSO_API_KEY": KEY, "FEDKRSO_LOG_LEVEL": "error"}
    streamlit = ["--server.headless=true", "--server.address=127.0.0.1", f"--server.port={pages}"]
    commands = {
        f"{server}/readyz": ["uvicorn", "api.main:app", f"--port={api}", "--log-level=error"],
        f"http://127.0.0.1:{pages}/_stcore/health": ["dashboard", *streamlit],
    }
    running: list[subprocess.Popen[bytes]] = []
    try:
        for health, words in commands.items():
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", *words],
                    env=os.environ | env,
                    cwd=ROOT,
                    stdout=subprocess.DEVNULL,
                )
            )
            _wait(health)
        yield f"http://127.0.0.1:{pages}"
    finally:
        for process in running:
            process.terminate()
            process.wait(20)


def _wait(health: str) -> None:
    for _ in range(600):
        try:
            httpx.get(health, trust_env=False, timeout=5)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    sys.exit(f"{health} does not answer")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


def measure(browser: Browser, name: str, url: str, charts: int, repeats: int) -> None:
    """Opens a page some times, and scrolls it."""
    first: list[float] = []
    again: list[float] = []
    frames: list[float] = []
    for number in range(repeats + 1):  # the very first visit loads the dashboard's own modules
        context = browser.new_context(viewport={"width": 1440, "height": 1750})
        kept = ([], []) if number == 0 else (first, again)
        for seconds in kept:
            page, taken = opened(context, url, charts)
            seconds.append(taken)
            if number == repeats and seconds is again:
                frames = smoothness(page)
            page.close()
        context.close()
    print(f"{name}: open in {told(first)}; again, with the cache, in {told(again)}")
    ordered = sorted(frames)
    late = ordered[int(0.95 * len(ordered))]
    print(
        f"  frames: median {statistics.median(ordered):.0f} ms, 95 % below {late:.0f} ms, "
        f"longest {ordered[-1]:.0f} ms, of {len(ordered)}",
        flush=True,
    )


def opened(context: BrowserContext, url: str, charts: int) -> tuple[Page, float]:
    """The page when its charts are drawn, and the seconds until then."""
    page = context.new_page()
    page.set_default_timeout(120_000)
    began = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_function(DRAWN, arg=charts, polling="raf")
    return page, time.perf_counter() - began


def smoothness(page: Page) -> list[float]:
    """Milliseconds between frames while the page is scrolled and the pointer moves."""
    page.wait_for_timeout(1000)
    page.mouse.move(400, 700)
    page.evaluate(
        "() => { let n = 0; setInterval(() => document.elementFromPoint(300 + (n += 7) % 800, 700)"
        "?.dispatchEvent(new MouseEvent('mousemove', {bubbles: true, clientX: 300 + n % 800,"
        " clientY: 700})), 30) }"
    )
    found: list[Any] = page.evaluate(FRAMES, 5)
    return [float(one) for one in found]


def told(seconds: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


if __name__ == "__main__":
    main()
