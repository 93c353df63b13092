"""Flower's client: the work of `task`, or nothing with a payload of 1 MB."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import task
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@lru_cache
def _model(folder: str) -> Any:
    torch.set_num_threads(1)
    return task.lora_model(Path(folder))


@app.train()
def train(message: Message, context: Context) -> Message:
    """A client's round."""
    received = message.content["arrays"].to_torch_state_dict()
    client = int(context.node_config["partition-id"])
    number = message.content["config"]["server-round"]
    if context.run_config["work"] == "noop":
        update = {name: tensor + 1.0 for name, tensor in received.items()}
    else:
        folder = Path(str(context.run_config["folder"]))
        model = _model(str(folder))
        task.put(model, received)
        update = task.train(model, folder, client, int(number))
    metrics = MetricRecord({"num-examples": task.ROWS})
    content = RecordDict({"arrays": ArrayRecord(update), "metrics": metrics})
    return Message(content=content, reply_to=message)
