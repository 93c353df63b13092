"""Answers that are too long for their place in `schemas`, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any

# of the example job with two rounds and budget.bytes_up of 5MB
ESTIMATE: dict[str, Any] = {
    "job": "demo",
    "device": "cpu, 1 thread",
    "forecasts": [
        {
            "method": "fedkrso",
            "title": "FedKRSO (K random subspaces, shared seeds)",
            "traffic": {
                "rounds": [
                    {"round": 1, "clients": 4, "bytes_up": 13608720, "bytes_down": 1152},
                    {"round": 2, "clients": 4, "bytes_up": 14964568, "bytes_down": 27168800},
                ],
                "exact": True,
                "compressed": False,
                "bytes_up": 28573288,
                "bytes_down": 27169952,
                "bytes_up_per_client": 3571661,
                "bytes_down_per_client": 3396244,
            },
            "memory": {
                "weights": 98995776,
                "gradients": 184352,
                "optimizer": 8134884,
                "activations": 39779396,
                "peak": 147094408,
                "process": 584817544,
            },
            "pace": {
                "step_flops": 17506320384,
                "seconds_per_step": 0.291,
                "seconds_per_round": 8.73,
                "seconds": 17.46,
                "precision": {"fp32": 0.291, "medium": 0.216, "bf16": 0.170},
            },
        }
    ],
    "over_budget": {
        "fedkrso": [
            {
                "field": "budget.bytes_up",
                "message": "5.0 MB, but the job sends 28.6 MB: 2 rounds of about 14.3 MB; "
                "allowed: from 28.6 MB",
                "value": 5000000,
            }
        ]
    },
}
