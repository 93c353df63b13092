"""A thousand registered clients that poll and send heartbeats, against one API process.

    python benchmarks/polling.py [--clients 1000] [--seconds 30] [--databases sqlite postgresql]

Half of the clients hold a lease on an assignment each and send heartbeats at the rate that the
service asks for; the others ask for work as often as it says and find none. Each has a connection
of its own. No coordinator runs: the rows are written before. A latency is the time from sending a
request to having read its whole answer, in a process on the same machine, after a warm-up in which
the leases are claimed. Prints a Markdown table; "CPU ms" is the API's CPU time for a request, which
depends less on what else runs than seconds do.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import secrets
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
from load import Answer, Connection
from servers import WORKER_KEY, api, database, environment

LONGEST_S = 600.0  # leases and rounds outlast the benchmark


@dataclass
class Tally:
    """Latencies in seconds by kind of request, and the errors."""

    latencies: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def note(self, kind: str, seconds: float, answer: Answer, expected: tuple[int, ...]) -> None:
        """An answer, and whether it is one of those that are expected."""
        self.latencies.setdefault(kind, []).append(seconds)
        if answer.status not in expected:
            self.errors.append(f"{kind}: {answer.status} {answer.body[:200]!r}")


@dataclass
class Crowd:
    """All clients; `tally` is replaced when the warm-up is over."""

    host: str
    port: int
    tally: Tally = field(default_factory=Tally)
    ending: bool = False

    async def client(self, number: int) -> None:
        """Claims, and then keeps what it got alive, or asks again and again."""
        connection = Connection(self.host, self.port, WORKER_KEY)
        body = {"worker": f"client-{number}"}
        while not self.ending:
            answer = await self.ask(connection, "claim", "/v1/assignments/claim", body, (200, 204))
            if answer is not None and answer.status == 200:
                await self.keep_alive(connection, answer.json())
            pause_s = float(answer.headers.get("retry-after", 5.0)) if answer else 1.0
            await self.pause(pause_s)
        connection.close()

    async def keep_alive(self, connection: Connection, seat: dict[str, Any]) -> None:
        """Heartbeats until the end."""
        path, step = f"/v1/assignments/{seat['id']}/heartbeat", 0
        every_s = seat.get("heartbeat_s", 1.0)
        token = {"X_Lease_Token": seat["lease_token"]}
        await self.pause(every_s * random.random())
        while not self.ending:
            step += 1
            began = time.monotonic()
            answer = await self.ask(connection, "heartbeat", path, {"step": step}, (200,), **token)
            if answer is not None and answer.status == 200:
                every_s = answer.json().get("heartbeat_s", every_s)
            await self.pause(every_s - (time.monotonic() - began))

    async def pause(self, seconds: float) -> None:
        """Sleeps, but not beyond the end."""
        until = time.monotonic() + seconds
        while not self.ending and (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.5))

    async def ask(
        self,
        connection: Connection,
        kind: str,
        path: str,
        body: Any,
        expected: tuple[int, ...],
        **headers: str,
    ) -> Answer | None:
        """A request; None if it failed, which is noted as an error."""
        began = time.perf_counter()
        try:
            answer = await connection.post(path, body, **headers)
        except (OSError, EOFError) as error:
            self.tally.errors.append(f"{kind}: {type(error).__name__}: {error}")
            return None
        self.tally.note(kind, time.perf_counter() - began, answer, expected)
        return answer


def write_rows(url: str, seats: int) -> None:
    """A running job with an open round in which so many clients wait to be trained."""
    from api.db.session import engine_of, writing
    from api.db.tables import Assignment, Client, Job, Round
    from fedkrso_core.spec import JobSpec

    now, job_id = time.time(), secrets.token_hex(6)
    spec = JobSpec(name="polling", clients={"count": seats, "per_round": seats})  # type: ignore[arg-type]
    job = Job(id=job_id, name="polling", state="running", spec=spec.model_dump(mode="json"))
    job.rounds, job.data_sha256, job.created_at, job.started_at = 1, "0" * 64, now, now
    until = now + LONGEST_S
    times: dict[str, Any] = {"opened_at": now, "deadline": until, "expected": {}}
    with writing(engine_of(url)) as session:
        session.add(job)
        session.flush()
        first = Round(job_id=job_id, number=0, state="closed", **times)
        first.digest, first.size = "0" * 64, 9
        session.add_all([first, Round(job_id=job_id, number=1, state="collecting", **times)])
        for client in range(seats):
            session.add(Client(job_id=job_id, client=client, num_examples=10))
            seat: dict[str, Any] = {"number": 1, "client": client, "num_examples": 10}
            seat |= {"needs_from": 0, "lacks_from": 0, "created_at": now, "hinted_at": now}
            session.add(Assignment(id=secrets.token_hex(16), job_id=job_id, **seat))
    engine_of(url).dispose()


async def press(url: str, pid: int, clients: int, seconds: float) -> tuple[Tally, float, float]:
    """What the crowd saw, the seconds it took, and the API's CPU seconds."""
    where = urlsplit(url)
    crowd = Crowd(where.hostname or "", where.port or 80)
    tasks = []
    for number in range(clients):
        tasks.append(asyncio.create_task(crowd.client(number)))
        await asyncio.sleep(2.0 / clients)
    await asyncio.sleep(8.0)
    warm_up, crowd.tally = crowd.tally, Tally()
    process, began = psutil.Process(pid), time.monotonic()
    before = process.cpu_times()
    await asyncio.sleep(seconds)
    tally, after, took = crowd.tally, process.cpu_times(), time.monotonic() - began
    crowd.ending, crowd.tally = True, Tally()
    await asyncio.gather(*tasks)
    tally.errors += warm_up.errors
    cpu = after.user + after.system - before.user - before.system
    return tally, took, cpu


def row(kind: str, tally: Tally, took: float, cpu: float) -> str:
    """A line of the table."""
    everything = np.concatenate([np.array(times) for times in tally.latencies.values()])
    p50, p99 = np.percentile(everything, [50, 99]) * 1000
    split = ", ".join(f"{len(t) / took:.0f} {name}s" for name, t in tally.latencies.items())
    rate, worst = len(everything) / took, everything.max() * 1000
    cells = [kind, f"{rate:.0f} ({split})", f"{p50:.1f}", f"{p99:.1f}", f"{worst:.0f}"]
    return "| " + " | ".join([*cells, f"{cpu / len(everything) * 1000:.2f}",
                              f"{cpu / took:.2f}", str(len(tally.errors))]) + " |"  # fmt: skip


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    args = parser.parse_args()
    print("| database | requests/s | p50 ms | p99 ms | worst ms | CPU ms | cores | errors |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in args.databases:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with database(kind, folder) as url:
                write_rows(url, args.clients // 2)
                more = {"FEDKRSO_DATABASE_URL": url, "FEDKRSO_LEASE_S": "60"}
                with api(environment(folder, **more)) as (address, pid):
                    found = asyncio.run(press(address, pid, args.clients, args.seconds))
            print(row(kind, *found), flush=True)
            for error in sorted(set(found[0].errors))[:5]:
                print(f"  {error}")


if __name__ == "__main__":
    main()
