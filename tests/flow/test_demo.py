"""`fedkrso demo`, as `make demo` runs it: the example job on a real model to its end."""

from __future__ import annotations

import json
import socket
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from fedkrso_core.data import load
from fedkrso_core.spec import parse

pytestmark = pytest.mark.slow


def test_demo_trains_the_real_model_and_stops(environ: dict[str, str], run_fedkrso: Any) -> None:
    with socket.create_server(("127.0.0.1", 8000)) if _is_free(8000) else nullcontext():
        done = run_fedkrso(environ, "demo", "--rounds", "2", timeout_s=580)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "port 8000 is taken; using" in done.stdout
    home = Path(environ["FEDKRSO_HOME"])
    (out,) = (home / "exports").iterdir()
    assert str(out) in done.stdout
    summary = json.loads((out / "summary.json").read_text())
    lines = (out / "rounds.jsonl").read_text().splitlines()
    curve = [json.loads(line)["metrics"]["accuracy"] for line in lines]
    assert len(curve) == 2
    assert curve[1] > curve[0] > 0.1
    assert _accuracy(out / "model", summary["spec"]) == pytest.approx(curve[-1], abs=1e-9)
    assert not [p for p in psutil.process_iter() if _of(p, home)]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _of(process: psutil.Process, home: Path) -> bool:
    try:
        return process.cwd() == str(home)
    except psutil.Error:
        return False


def _accuracy(model: Path, spec: dict[str, Any]) -> float:
    """Accuracy of an exported model with transformers alone."""
    classifier = AutoModelForSequenceClassification.from_pretrained(model).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    _, validation = load(parse(spec).data, spec["seed"])
    right = 0
    for start in range(0, len(validation), 64):
        texts = validation.texts[start : start + 64]
        length = spec["local"]["max_length"]
        batch = tokenizer(
            texts, truncation=True, max_length=length, padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            answers = classifier(**batch).logits.argmax(-1).tolist()
        truth = validation.labels[start : start + 64]
        right += sum(a == b for a, b in zip(answers, truth, strict=True))
    return right / len(validation)
