"""Takes the pictures of the README from a running service: `python docs/images/take.py`.

Start the service with `fedkrso up` and let a job end first; the newest job is shown. It needs
Chromium.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from rich.console import Console

from cli.client import ApiClient
from cli.render import rounds_table
from cli.state import Home

HERE = Path(__file__).parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


def settle(page: Page) -> None:
    """Waits until the page is drawn."""
    page.get_by_test_id("stApp").wait_for()
    page.wait_for_timeout(4000)


def main() -> None:
    """Terminal table, job page and form."""
    import os

    home = Home.of(os.environ)
    server = home.server()
    assert server is not None, "no service runs: start it with `fedkrso up`"
    assert server.dashboard is not None
    with ApiClient(server.url, home.secret("api_key")) as client:
        job = client.jobs(limit=1)[0][0]
        rounds = client.rounds(job["id"])
    console = Console(record=True, width=84, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print("$ make demo")
    console.print(rounds_table(rounds))
    (HERE / "demo-terminal.svg").write_text(console.export_svg(title="fedkrso demo"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1750})
        for name, path in (("job", f"job?job={job['id']}"), ("new-job", "new_job")):
            page.goto(f"{server.dashboard}/{path}")
            settle(page)
            if name == "new-job":
                page.get_by_text("Compare with all methods").click()
                page.get_by_role("button", name="Estimate").click()
                page.get_by_text("All methods, a client in a round").wait_for(timeout=120_000)
                settle(page)
            page.screenshot(path=str(HERE / f"{name}.png"))
            page.set_viewport_size({"width": 1280, "height": 1650})
        browser.close()


if __name__ == "__main__":
    main()
