"""What the fake API answers with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]
START = datetime.now(UTC) - timedelta(minutes=3)
ZIP = b"PK\x05\x06" + bytes(18)
METHODS: list[Json] = [
    {
        "name": "fedkrso",
        "title": "FedKRSO",
        "paper": "arXiv 2602.03019",
        "summary": "Federated training in K random subspaces.",
        "traffic": "Up: 4 r sum(d_out) bytes for each of the used seeds.",
        "config": {
            "properties": {
                "rank": {"type": "integer", "default": 4, "minimum": 1, "description": "Rank r"},
                "seeds": {"type": "integer", "default": 10, "description": "Seeds of a round, K"},
                "shared": {"type": "boolean", "default": False, "description": "Same seeds"},
            }
        },
    },
    {
        "name": "fedavg",
        "title": "FedAvg",
        "paper": "arXiv 1602.05629",
        "summary": "Full fine-tuning.",
        "config": {
            "properties": {
                "momentum": {"type": "number", "default": 0.9, "description": "Of the server"}
            }
        },
    },
]


def open_round(number: int) -> Json:
    """A round in which one of four clients is done."""
    return {
        "round": number,
        "state": "collecting",
        "bytes_up": 100_000,
        "bytes_down": 900_000,
        "peak_memory_bytes": 0,
        "clients": [1, 3, 5, 7],
        "done": 1,
    }


def clients_of(current: Json) -> list[Json]:
    """The first is done, the second trains, the third waits for another try; or all are done."""
    common = {
        "round": current["round"],
        "steps": 10,
        "bytes_up": 0,
        "bytes_down": 325_000,
        "bytes_lost": 0,
        "offered_at": (START + timedelta(seconds=1)).isoformat(),
        "leased_at": (START + timedelta(seconds=3)).isoformat(),
    }
    done = {"state": "done", "attempt": 1, "step": 10, "bytes_up": 100_000, "num_examples": 120}
    done |= {"worker": "gpu-1:4242", "peak_memory_bytes": 310_000_000}
    beat = (datetime.now(UTC) - timedelta(seconds=4)).isoformat()
    trains = {"state": "leased", "attempt": 1, "step": 4, "worker": "gpu-2:77"}
    trains |= {"heartbeat_at": beat}
    waits = {"state": "pending", "attempt": 1, "step": 0, "bytes_lost": 325_000}
    failed = {"state": "failed", "attempt": 3, "step": 0, "error": "out of memory"}
    states = [done] * 4 if current["state"] == "closed" else [done, trains, waits, failed]
    numbered = zip(current["clients"], states, strict=True)
    return [common | {"client": client} | state for client, state in numbered]


def forecast(method: str, size: int) -> Json:
    """A client sends `size` bytes in each of 6 rounds of 4 clients, and gets twice as many."""
    rounds = [
        {"round": n, "clients": 4, "bytes_up": 4 * size, "bytes_down": 8 * size}
        for n in range(1, 7)
    ]
    traffic = {"rounds": rounds, "bytes_up": 24 * size, "bytes_down": 48 * size}
    traffic |= {"bytes_up_per_client": size, "bytes_down_per_client": 2 * size}
    memory = {"weights": 90_000_000, "gradients": size, "optimizer": 2 * size}
    memory |= {"activations": 40_000_000, "peak": 130_000_000 + 3 * size}
    memory |= {"process": 500_000_000}
    pace = {"step_flops": 10**10, "seconds_per_step": 0.12, "seconds_per_round": 1.2}
    pace |= {"seconds": 7.2, "precision": {"fp32": 0.12, "medium": 0.09, "bf16": 0.15}}
    titles = {item["name"]: item["title"] for item in METHODS}
    parts = {"traffic": traffic, "memory": memory, "pace": pace}
    return {"method": method, "title": titles[method], **parts}


def estimate(job: Json, methods: str) -> Json:
    """The job's own method, and with methods=all a larger one and one that cannot run."""
    own = job.get("method", {}).get("name", "fedkrso")
    answer = {"job": job["name"], "device": "cpu, 1 thread", "over_budget": {}}
    forecasts = [forecast(own, 1_000_000)]
    if methods == "all" or "fedavg" in methods.split(","):
        forecasts.append(forecast("fedavg", 90_000_000))
    if methods == "all":
        forecasts.append({"method": "odd", "title": "Odd", "refused": "no layer matches"})
        over = {"field": "budget.bytes_up", "message": "50.0 MB: too little", "value": 50_000_000}
        if job.get("budget"):
            answer["over_budget"] = {"fedavg": [over]}
    return answer | {"forecasts": forecasts}


def points_of(closed: list[Json]) -> list[Json]:
    """The closed rounds as points of curves; each took 20 s."""
    up = down = 0
    points = []
    for item in closed:
        up, down = up + item["bytes_up"], down + item["bytes_down"]
        seconds = {"train": 12.0, "transfer": 3.0, "aggregate": 1.0, "wait": 4.0}
        points.append(
            {
                "round": item["round"],
                "metrics": item["metrics"],
                "elapsed_s": 20.0 * item["round"],
                "bytes_up": up,
                "bytes_down": down,
                "peak_memory_bytes": item["peak_memory_bytes"],
                "seconds": seconds,
            }
        )
    return points
