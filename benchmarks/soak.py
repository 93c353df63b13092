"""A service under fire: 20 open jobs of 50 clients each, and a fault every few seconds.

    python benchmarks/soak.py [--minutes 10] [--on embedded servers] [--jobs 20] [--pause 4]

`embedded` is SQLite and a queue of files, `servers` a PostgreSQL and a Redis of the script's own.
The minutes are divided among them. A job that ends is followed by another until the time is over;
then the faults stop and the open jobs end. Both workers send each update twice. At the end the
database is read: what was lost, what was counted twice; and every model is compared with that of
the same job trained in one process without a service, as `fedkrso run` does. Exits with 1 if
anything differs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from audit import Audit
from faults import Faults

from tests.api.tiny import COLD, WARM, write_model
from tests.flow.rig import Rig, environ_of
from tests.flow.servers import Postgres, Redis

CLIENTS, PER_ROUND, ROUNDS, SEEDS = 50, 4, 3, 5
LAST_JOBS_S = 900.0
OPTIONS: dict[str, dict[str, int]] = {
    "fedkrso": {"rank": 2, "seeds": 3, "interval": 2},
    "fedavg": {},
    "fedit": {"rank": 2},
    "ffa_lora": {"rank": 2},
}


def write_rows(path: Path) -> None:
    """Some rows for each of the clients: the first word decides the label."""
    rng = random.Random(0)
    rows = []
    for _ in range(CLIENTS * 8):
        first, others = rng.choice(WARM + COLD), rng.choices(WARM + COLD, k=3)
        label = "warm" if first in WARM else "cold"
        rows.append({"text": " ".join([first, *others]), "label": label})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def spec(folder: Path, number: int) -> dict[str, Any]:
    """The job file of a number: methods take turns, then seeds; they repeat after 20."""
    method = sorted(OPTIONS)[number % len(OPTIONS)]
    return {
        "name": f"soak-{number}",
        "model": str(folder / "model"),
        "data": {"train": str(folder / "rows.jsonl")},
        "partition": {"kind": "iid"},
        "clients": {"count": CLIENTS, "per_round": PER_ROUND},
        "rounds": ROUNDS,
        "local": {"steps": 4, "batch_size": 4, "max_length": 8, "lr": 0.01},
        "method": {"name": method, **OPTIONS[method]},
        "seed": number // len(OPTIONS) % SEEDS,
    }


def alone(folder: Path, number: int) -> tuple[tuple[str, int], str]:
    """(method, seed) of a job, and its model's digest when nothing happens to it."""
    from fedkrso_core import simulate
    from fedkrso_core.spec import parse

    job = spec(folder, number)
    with tempfile.TemporaryDirectory() as out:
        summary = simulate.run(parse(job), Path(out) / "run")
    return (job["method"]["name"], job["seed"]), str(summary["model_sha256"])


def under_fire(
    stack: ExitStack, folder: Path, where: str, given: argparse.Namespace, minutes: float
) -> tuple[Rig, Faults]:
    """Runs jobs and faults for a while, then until all jobs have ended."""
    redis = postgres = None
    servers = {}
    if where == "servers":
        redis, postgres = Redis(), Postgres()
        for server, end in ((redis, redis.kill), (postgres, postgres.end)):
            stack.callback(end)
            server.start()
        servers = {"FEDKRSO_DATABASE_URL": postgres.url, "FEDKRSO_BROKER_URL": redis.url}
    environ = environ_of(FEDKRSO_MAX_ATTEMPTS="1000", **servers)
    rig = stack.enter_context(Rig(folder / where, environ))
    rng = random.Random(given.seed)
    faults = Faults(rig, rng, redis, postgres)
    faults.start_service()
    rig.wait_for_api()
    numbers = itertools.count()
    end, next_fault = time.monotonic() + minutes * 60, 0.0
    while time.monotonic() < end:
        busy = rig.open_jobs()
        for _ in range(0 if busy is None else given.jobs - len(busy)):
            rig.try_to_submit(spec(folder, next(numbers)))
        if time.monotonic() >= next_fault:
            faults.one()
            next_fault = time.monotonic() + given.pause * rng.uniform(0.5, 1.5)
        time.sleep(0.3)
    faults.end()
    last = time.monotonic() + LAST_JOBS_S
    while rig.open_jobs() != [] and time.monotonic() < last:
        time.sleep(0.5)
    return rig, faults


def soak(where: str, given: argparse.Namespace, minutes: float) -> bool:
    """One service under fire; prints what happened, True if all is well."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        write_model(folder / "model")
        write_rows(folder / "rows.jsonl")
        models = dict(alone(folder, number) for number in range(len(OPTIONS) * SEEDS))
        rig, faults = under_fire(stack, folder, where, given, minutes)
        audit = Audit(rig, models)
        print(
            f"\n{where}: {minutes:g} minutes of faults, {given.jobs} open jobs of {CLIENTS} clients"
        )
        print(f"faults injected: {faults.counts.total()}")
        for kind, count in faults.counts.most_common():
            print(f"  {kind}: {count}")
        audit.print()
        return audit.is_clean()


def main() -> None:
    """Reads the arguments; one service after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--on", nargs="+", default=["embedded", "servers"])
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--pause", type=float, default=4.0, help="seconds between faults, mean")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    # before torch is loaded: the same threads everywhere, for the same bits
    os.environ |= {"FEDKRSO_THREADS": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    minutes = given.minutes / len(given.on)
    clean = [soak(where, given, minutes) for where in given.on]
    sys.exit(0 if all(clean) else 1)


if __name__ == "__main__":
    main()
