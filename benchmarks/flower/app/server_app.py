"""Flower's server: FedAvg over all clients; writes down when each round was done."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import task
import torch
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Runs the rounds."""
    torch.set_num_threads(1)
    folder, noop = Path(str(context.run_config["folder"])), context.run_config["work"] == "noop"
    model: Any = None if noop else task.lora_model(folder)
    first = {"w": torch.zeros(task.NOOP_NUMBERS)} if noop else task.trained(model)
    done: list[float] = []
    accuracy: list[float] = []

    def evaluate(number: int, arrays: ArrayRecord) -> MetricRecord:
        if not noop:
            task.put(model, arrays.to_torch_state_dict())
            accuracy.append(task.evaluate(model, folder))
        if number > 0:
            done.append(time.time())
        return MetricRecord({"round": number})

    strategy = FedAvg(
        fraction_train=1.0,
        fraction_evaluate=0.0,
        min_train_nodes=task.CLIENTS,
        min_available_nodes=task.CLIENTS,
    )
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(first),
        num_rounds=int(context.run_config["rounds"]),
        evaluate_fn=evaluate,
    )
    out = Path(str(context.run_config["out"]))
    part = out.with_suffix(".part")
    part.write_text(json.dumps({"done": done, "accuracy": accuracy}))
    part.replace(out)
