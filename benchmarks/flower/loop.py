"""The floor: the same work in one process without any framework.

python benchmarks/flower/loop.py FOLDER ROUNDS
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "app"))

import task
import torch


def main() -> None:
    """Prints a line of JSON."""
    began, (folder, rounds) = time.time(), (Path(sys.argv[1]), int(sys.argv[2]))
    torch.set_num_threads(1)
    model = task.lora_model(folder)
    state, done, accuracy = task.trained(model), [], []
    for number in range(1, rounds + 1):
        updates = []
        for client in range(task.CLIENTS):
            task.put(model, state)
            updates.append(task.train(model, folder, client, number))
        state = {n: torch.stack([update[n] for update in updates]).mean(0) for n in state}
        task.put(model, state)
        accuracy.append(task.evaluate(model, folder))
        done.append(time.time())
    print(json.dumps({"began": began, "done": done, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
