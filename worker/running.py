"""Puts an external client together: `fedkrso client run`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from fedkrso_core import __version__
from fedkrso_core.estimate import estimate
from fedkrso_core.examine import Examined
from fedkrso_core.models import load_tokenizer, shapes_only
from fedkrso_core.spec import JobSpec
from fedkrso_core.workload import Shares
from telemetry import logs, tracing
from worker.agent import Agent
from worker.api import Api
from worker.client import ClientProcess
from worker.hardware import hardware
from worker.ledger import Ledger
from worker.own_rows import OwnRows
from worker.own_site import OwnSite, Tell
from worker.policy import Policy
from worker.stop import Stop


def run(
    server: str, key: str, name: str, rows: OwnRows, policy: Policy, folder: Path, tell: Tell
) -> None:
    """Works for a service until SIGTERM or SIGINT, which hand back at once what is at work."""
    logs.configure("client", secrets=[key])
    tracing.configure("client", __version__)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stop = Stop()
    api = Api(server, key, stop=stop)
    site = OwnSite(rows, policy, api, tell)
    process = ClientProcess(api, folder, stop, site=site)
    process.name = name
    ledger = Ledger(folder / "moved.json")
    agent = Agent(api, process, site, policy, ledger, about_me, forecast)
    before = {n: signal.signal(n, agent.end) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        agent.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        tracing.flush()
        api.close()


def about_me() -> dict[str, Any]:
    """What the service is told of this client."""
    return {"version": __version__, "hardware": hardware()}


def forecast(given: dict[str, Any], shares: Shares) -> int:
    """Bytes of memory that the process of a training will take at its peak."""
    spec = JobSpec.model_validate(given)
    model = shapes_only(spec.model, shares.train.label_names, spec.task)
    own = Examined(shares, model, load_tokenizer(spec.model))
    found = estimate(spec, own=own).forecasts[0]
    return 0 if found.memory is None else found.memory.process
