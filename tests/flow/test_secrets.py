"""After a whole flow no secret stands anywhere but where it belongs."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from playwright.sync_api import Page, expect

from cli.ports import choose
from tests.flow.test_browser import page  # noqa: F401

pytestmark = pytest.mark.slow

FEDKRSO = str(Path(sys.executable).with_name("fedkrso"))
APP = Path(__file__).parents[2] / "dashboard" / "app.py"


@contextmanager
def dashboard(server: str, environ: dict[str, str]) -> Iterator[str]:
    """The dashboard as several people use it: without a key in its environment."""
    port = choose("127.0.0.1", 0)
    words = ["streamlit", "run", str(APP), "--server.port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", *words, "--server.address", "127.0.0.1"],
        env=environ | {"FEDKRSO_SERVER": server},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        printed = process.communicate(timeout=30)[0]
        assert "fk_" not in printed


def _await(url: str) -> None:
    for _ in range(300):
        try:
            if httpx.get(f"{url}/_stcore/health").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"no dashboard at {url}")


def secret_part(key: str) -> str:
    return key.split("_", 2)[2]


def written_by(service: Any) -> bytes:
    """Everything in the state folder but the two files that hold the keys."""
    files = [path for path in service.home.rglob("*") if path.is_file()]
    kept = [path for path in files if path.name not in ("api_key", "worker_key")]
    assert {"fedkrso.db", "api.log", "coordinator.log", "worker1.log"} <= {p.name for p in kept}
    return b"\n".join(path.read_bytes() for path in kept)


def make_operator(service: Any) -> str:
    """A user with a project; their key as the command prints it."""
    with service.client() as http:
        http.post("/v1/users", json={"name": "ada"}).raise_for_status()
        http.post("/v1/projects", json={"name": "reviews"}).raise_for_status()
        http.put("/v1/projects/reviews/members/ada").raise_for_status()
    key = service.cli("keys", "create", "--user", "ada").stdout.strip()
    assert re.fullmatch(r"fk_[0-9a-f]{16}_[\w-]{43}", key)
    return str(key)


@pytest.mark.services
def test_no_secret_is_in_logs_events_database_audit_or_the_page(
    up: Any,
    job: dict[str, Any],
    tmp_path: Path,
    page: Page,  # noqa: F811
) -> None:
    with up("--no-dashboard") as service:
        key = make_operator(service)
        (tmp_path / "job.yaml").write_text(yaml.safe_dump(job | {"rounds": 1}))
        sent = service.cli("submit", str(tmp_path / "job.yaml"), "--key", key, "--wait", "--json")
        assert sent.returncode == 0, sent.stderr
        mine = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=service.url, headers=mine, timeout=30) as http:
            [found] = http.get("/v1/jobs").json()["items"]
            assert (found["project"], found["created_by"], found["state"]) == (
                "reviews", "ada", "done",
            )  # fmt: skip
            seen = http.get(f"/v1/jobs/{found['id']}/events").text
            assert "event: done" in seen
            # what goes wrong is where secrets slip out
            seen += http.get("/v1/jobs", params={"key": key}).text
            seen += http.delete(f"/v1/keys/{key}").text
            seen += http.post("/v1/jobs", json={"name": key, "rounds": 0}).text
            seen += http.post("/v1/jobs", headers={"Authorization": f"Basic {key}"}).text
        with service.client() as http:
            audit = http.get("/v1/audit?limit=500").text
            assert '"jobs.create"' in audit
            seen += audit + http.get("/v1/keys").text
        seen += page_of(service, found["id"], key, page)
        kept = [(service.home / name).read_text().strip() for name in ("api_key", "worker_key")]
        written = written_by(service)
    for secret in (key, *kept):
        assert secret_part(secret) not in seen
        assert secret_part(secret).encode() not in written


def page_of(service: Any, job: str, key: str, page: Page) -> str:  # noqa: F811
    """What the browser has after signing in: page, addresses it asked for, its storage."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    environ = {n: v for n, v in service.environ.items() if n != "FEDKRSO_API_KEY"}
    with dashboard(service.url, environ) as url:
        _await(url)
        page.goto(f"{url}/job?job={job}")
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="tiny")).to_be_visible()
        expect(page.get_by_text("ada · operator")).to_be_visible()
        stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
        inputs = page.evaluate("[...document.querySelectorAll('input')].map(i => i.value).join()")
        seen = " ".join([page.content(), page.url, stored, inputs, *asked])
        page.reload()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert "tiny" in seen
    return seen


def test_a_password_of_a_database_that_does_not_answer_is_not_printed(
    environ: dict[str, str],
) -> None:
    url = "postgresql+psycopg://ada:pass-phrase-7@127.0.0.1:9/fedkrso?connect_timeout=3"
    command = [FEDKRSO, "up", "--port", "0", "--no-dashboard"]
    given = environ | {"FEDKRSO_DATABASE_URL": url}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, env=given, text=True, **streams) as waiting:
        assert waiting.stdout is not None
        written = waiting.stdout.readline() + waiting.stdout.readline()
        waiting.send_signal(signal.SIGINT)
        written += waiting.stdout.read()
    assert "waiting for the database" in written
    written += "".join(p.read_text() for p in Path(environ["FEDKRSO_HOME"]).rglob("*.log"))
    assert "127.0.0.1" in written
    assert "pass-phrase-7" not in written
