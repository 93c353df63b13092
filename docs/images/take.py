"""Takes a picture of every page from a running service: `python docs/images/take.py`.

Start the service with `fedkrso up` and let a few jobs end first: the newest is shown, and the
newest four are compared. Each page is taken on a wide screen in light and on a phone in dark. It
needs Chromium.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console

from cli.client import ApiClient
from cli.render import rounds_table
from cli.state import Home

HERE = Path(__file__).parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
# width, tallest height, colours
SCREENS = {"": (1440, 1750, "light"), "-phone": (400, 900, "dark")}
_COMPARED = 4


@dataclass(frozen=True)
class Picture:
    """A page: the name of its file, its address, and what is done before it is taken."""

    name: str
    path: str
    prepare: Callable[[Page], Any] = lambda page: page


def ask_for_everything(page: Page) -> None:
    """The estimate with all methods, and the division of the rows."""
    page.get_by_role("button", name="Show the division").click()
    page.get_by_text("rows to evaluate on").wait_for(timeout=120_000)
    page.get_by_role("button", name="Estimate", exact=True).click()
    page.get_by_text("Side by side").wait_for(timeout=120_000)


# a new page is a line here; {job} and {jobs} are the newest job and the newest few
PICTURES = (
    Picture("jobs", ""),
    Picture("new-job", "new_job", ask_for_everything),
    Picture("job", "job?job={job}"),
    Picture("compare", "compare?jobs={jobs}"),
    Picture("clients", "clients"),
    Picture("methods", "methods"),
    Picture("admin", "admin"),
)


def settle(page: Page) -> None:
    """Waits until the page is drawn."""
    page.get_by_test_id("stApp").wait_for()
    page.wait_for_timeout(5000)


def take(browser: Browser, address: str, picture: Picture, screen: str) -> None:
    """One page on one screen, no taller than what is on it."""
    width, tallest, colours = SCREENS[screen]
    page = browser.new_page(
        viewport={"width": width, "height": tallest},
        color_scheme="dark" if colours == "dark" else "light",
    )
    page.goto(address)
    settle(page)
    picture.prepare(page)
    settle(page)
    content = page.get_by_test_id("stMainBlockContainer").bounding_box()
    height = min(tallest, round(content["y"] + content["height"])) if content else tallest
    clip: Any = {"x": 0, "y": 0, "width": width, "height": height}
    page.screenshot(path=str(HERE / f"{picture.name}{screen}.png"), clip=clip)
    page.close()


def take_terminal(rounds: list[dict[str, Any]]) -> None:
    """What the demo prints."""
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=84, file=nowhere)
        console.print("$ make demo")
        console.print(rounds_table(rounds))
    (HERE / "demo-terminal.svg").write_text(console.export_svg(title="fedkrso demo"))


def main() -> None:
    """The terminal's table, and every page on every screen."""
    home = Home.of(os.environ)
    server = home.server()
    assert server is not None, "no service runs: start it with `fedkrso up`"
    assert server.dashboard is not None
    with ApiClient(server.url, home.secret("api_key")) as client:
        newest = [job["id"] for job in client.jobs(limit=_COMPARED)[0]]
        take_terminal(client.rounds(newest[0]))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for picture in PICTURES:
            path = picture.path.format(job=newest[0], jobs=",".join(newest))
            for screen in SCREENS:
                take(browser, f"{server.dashboard}/{path}", picture, screen)
        browser.close()


if __name__ == "__main__":
    main()
