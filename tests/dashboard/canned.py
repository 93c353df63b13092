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
    common = {"steps": 10, "bytes_up": 0, "bytes_down": 325_000, "bytes_lost": 0}
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
