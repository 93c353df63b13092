"""Uploads and downloads of 200 MB through the API, beside other ways to do the same.

    python benchmarks/transfer.py [--mb 200] [--repeats 5]

Upload: `PUT /v1/assignments/{id}/update` of the real application, against the same route that reads
the body whole (`await request.body()`) and then does all the same: checks, fsync, row. Download:
`GET /v1/assignments/{id}/blobs/{digest}`, against nginx serving the same file; nginx comes from
`apt-get install nginx-light`. Both sides in one run, in turns, with curl as the client; uvicorn
with one process. Memory is how much the peak (VmHWM) of the server's process during a transfer is
above what it held (VmRSS) before. On Linux.
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
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI, Request
from transfer_job import KEY, TOKEN, Prepared, prepare

from api.deps import BlobStore, Config, Database
from api.services import handing_in

API, WHOLE, NGINX = 8471, 8472, 8473
REPORT = "peak_memory_bytes=1&train_s=1"
Side = tuple[float, int | None]  # seconds, bytes that the server grew by
whole = FastAPI()


@whole.get("/healthz")
def healthz() -> None:
    """As in the application."""


@whole.put("/v1/assignments/{assignment_id}/update")
async def update(
    assignment_id: str, request: Request, engine: Database, blobs: BlobStore, settings: Config
) -> Any:
    """The side to compare with: the body is in memory before anything is done with it."""
    from api.assignment_schemas import ReportIn

    async def one() -> AsyncIterator[bytes]:
        yield await request.body()

    given = request.headers
    report = ReportIn(peak_memory_bytes=1, train_s=1.0)
    args = (assignment_id, given["X-Lease-Token"], report, None, given["X-Content-SHA256"], one())
    return await handing_in.hand_in(engine, blobs, settings, *args)


@contextmanager
def uvicorn(app: str, port: int, home: Path) -> Iterator[int]:
    """A server of its own; yields its process id once it answers and has loaded everything."""
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--log-level", "error"]
    server = subprocess.Popen(
        [*command, "--no-access-log", "--app-dir", str(Path(__file__).parent)],
        env=os.environ | {"FEDKRSO_HOME": str(home), "FEDKRSO_BOOTSTRAP_WORKER_KEY": KEY},
    )
    try:
        until_answers(port)
        until_settled(server.pid)
        yield server.pid
    finally:
        server.terminate()
        server.wait()


@contextmanager
def nginx(root: Path) -> Iterator[None]:
    """A static file server with one worker and sendfile."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        sys.exit("nginx is missing: apt-get install nginx-light")
    config = root / "nginx.conf"
    config.write_text(
        f"worker_processes 1; daemon off; pid {root}/nginx.pid; error_log {root}/nginx.log;\n"
        f"user root; events {{}}\n"
        f"http {{ access_log off; sendfile on; client_body_temp_path {root}/tmp;\n"
        f"server {{ listen 127.0.0.1:{NGINX}; root {root}/blobs; }} }}\n"
    )
    server = subprocess.Popen([program, "-p", str(root), "-c", str(config)])
    try:
        until_answers(NGINX)
        yield
    finally:
        server.terminate()
        server.wait()


def until_answers(port: int) -> None:
    """Waits for a server."""
    for _ in range(600):
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    sys.exit(f"nothing answers at port {port}")


def until_settled(pid: int) -> None:
    """Waits until a process has stopped growing: the application loads torch in the background."""
    sizes = [0]
    while len(sizes) < 12 or max(sizes[-12:]) - min(sizes[-12:]) > 200_000:
        sizes.append(memory(pid, "VmRSS"))
        time.sleep(0.5)


def memory(pid: int, field: str) -> int:
    """Bytes of a field of /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise ValueError(field)


def curl(*arguments: str) -> float:
    """Seconds of one transfer."""
    command = ["curl", "-sS", "--fail", "--noproxy", "*", "-o", "/dev/null"]
    done = subprocess.run(
        [*command, "-w", "%{time_total}", "-H", f"X-Lease-Token: {TOKEN}", *arguments],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return float(done.stdout)


def grown(pid: int, transfer: Callable[[], float]) -> Side:
    """(seconds, bytes that the server grew by) of a transfer."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
    before = memory(pid, "VmRSS")
    seconds = transfer()
    return seconds, memory(pid, "VmHWM") - before


def upload(port: int, job: Prepared) -> float:
    """Hands in an update; the blob is removed afterwards, so that the next one stores it anew."""
    url = f"http://127.0.0.1:{port}/v1/assignments/{job.assignments.pop()}/update?{REPORT}"
    auth = ("-H", f"Authorization: Bearer {KEY}", "-H", f"X-Content-SHA256: {job.update_digest}")
    try:
        return curl("-T", str(job.update), "-H", "Expect:", *auth, url)
    finally:
        os.sync()
        (job.home / "blobs" / job.update_digest[:2] / job.update_digest).unlink(missing_ok=True)


def download(port: int, job: Prepared) -> float:
    """Fetches a state."""
    if port == NGINX:
        return curl(f"http://127.0.0.1:{port}/{job.state_digest[:2]}/{job.state_digest}")
    url = f"http://127.0.0.1:{port}/v1/assignments/{job.fetching}/blobs/{job.state_digest}"
    return curl("-H", f"Authorization: Bearer {KEY}", url)


def main() -> None:
    """Prints a Markdown table; MB are 10^6 bytes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mb", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    rows: dict[str, list[Side]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fedkrso-transfer-")))
        job = prepare(folder, args.mb, 2 * args.repeats + 2)
        api = stack.enter_context(uvicorn("api.main:app", API, folder))
        body = stack.enter_context(uvicorn("transfer:whole", WHOLE, folder))
        stack.enter_context(nginx(folder))
        sides: dict[str, Callable[[], Side]] = {
            "upload, streamed": lambda: grown(api, lambda: upload(API, job)),
            "upload, body whole": lambda: grown(body, lambda: upload(WHOLE, job)),
            "download, API": lambda: grown(api, lambda: download(API, job)),
            "download, nginx": lambda: (download(NGINX, job), None),
        }
        for number in range(args.repeats + 1):
            for name in list(sides)[:: 1 if number % 2 else -1]:
                rows.setdefault(name, []).append(sides[name]())
    report(rows, args.mb)


def report(rows: dict[str, list[Side]], mb: int) -> None:
    """The table, and the ratios of the medians."""
    # the first transfer of a side is a warm-up: only its memory counts
    rate = {name: mb / statistics.median(s for s, _ in found[1:]) for name, found in rows.items()}
    print(
        "| side | MB/s, median | best | memory grows by at most, MB |",
        "|---|---|---|---|",
        sep="\n",
    )
    for name, found in rows.items():
        peaks = [grew for _, grew in found if grew is not None]
        peak = f"{max(peaks) / 1e6:.1f}" if peaks else "–"
        best = mb / min(s for s, _ in found[1:])
        print(f"| {name} | {rate[name]:.0f} | {best:.0f} | {peak} |")
    up = rate["upload, streamed"] / rate["upload, body whole"]
    print(f"\nupload: streamed / body whole = {up:.2f}")
    print(f"download: API / nginx = {rate['download, API'] / rate['download, nginx']:.2f}")


if __name__ == "__main__":
    main()
