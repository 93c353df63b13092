"""The folder that a user takes home: rounds.jsonl, summary.json, and the model.

The model is model/, or where the method attaches what cannot be merged, what that writes (see
`attached`): adapter/ for the base model, which is put beside it unless it is on the hub.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedkrso_core import engine
from fedkrso_core.attached import Attachment, detached
from fedkrso_core.models import auto_class, is_local, loading_options
from fedkrso_core.spec import JobSpec
from fedkrso_core.tasks import task_of
from fedkrso_core.workload import Workload, labels_of

_PERSONAL = (
    "- personal models: this is the part that the clients share, merged into the base model; what "
    "each keeps for itself is not in it, and the metrics are those of the clients' own models"
)


def summarize(
    workload: Workload,
    spec: JobSpec,
    rounds: Sequence[Mapping[str, Any]],
    model_sha256: str,
    stopped: str | None = None,
) -> dict[str, Any]:
    """The content of summary.json; `stopped` is why the job ended before its last round."""
    import torch
    import transformers

    measured = [r["metrics"] for r in rounds if r["metrics"]]
    return {
        "name": spec.name,
        "method": spec.method.name,
        "rounds": len(rounds),
        "stopped": stopped,
        "personal": workload.method.is_personal,
        "metrics": measured[-1] if measured else {},
        "totals": engine.totals([dict(r) for r in rounds]),
        "model_sha256": model_sha256,
        "data_sha256": workload.shares.sha256,
        "labels": labels_of(spec, workload.shares.train),
        "device": str(workload.device),
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "spec": spec.model_dump(mode="json"),
    }


def write_folder(
    out: Path, workload: Workload, rounds: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> None:
    """Writes the folder for the model that was put together last in the workload."""
    out.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(r) + "\n" for r in rounds]
    (out / "rounds.jsonl").write_text("".join(lines), encoding="utf-8")
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    model: Any = workload.global_model.model
    with detached(model) as attachment:
        if attachment is None:
            folder, how = out / "model", list[str]()
            model.save_pretrained(folder)
        else:
            folder, how = _write_attached(out, model, attachment, workload.spec)
    workload.tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(model_card(rounds, summary, how), encoding="utf-8")


def _write_attached(
    out: Path, model: Any, attachment: Attachment, spec: JobSpec
) -> tuple[Path, list[str]]:
    """The folder that loads on top of the base model, and the Python that does it.

    The base is a name where everybody gets it by its name; else it is a folder beside the other.
    """
    own = is_local(spec.model)
    base = "base" if own else spec.model
    attachment.save(model, out, base)
    if own and attachment.needs_base:
        model.save_pretrained(out / base)
    labels = "" if own else loading_options(model, spec.task)
    return out / attachment.folder, attachment.loading(auto_class(spec.task), base, labels)


def model_card(
    rounds: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], how: Sequence[str] = ()
) -> str:
    """A Hugging Face model card with the ledger of the rounds; `how` is Python that loads it."""
    spec, task = summary["spec"], task_of(summary["spec"])[1]
    rows = [
        f"| {r['round']} | {_number(r, task.metric)} | {_number(r, 'loss')} | {r['bytes_up']} | "
        f"{r['bytes_down']} | {r['peak_memory_bytes']} | {len(r['clients'])} |"
        for r in rounds
    ]
    return "\n".join(
        [
            "---",
            f"library_name: {'peft' if any('peft' in line for line in how) else 'transformers'}",
            f"pipeline_tag: {task.pipeline}",
            "tags: [federated-learning]",
            "---",
            f"# {summary['name']}",
            "",
            f"Fine-tuned from `{Path(spec['model']).name}` on `{Path(spec['data']['train']).name}` "
            f"with `{summary['method']}` over {spec['clients']['count']} clients, "
            f"{summary['rounds']} rounds.",
            "",
            *([f"- labels: {', '.join(summary['labels'])}"] if summary["labels"] else []),
            f"- weights: sha256 `{summary['model_sha256']}`",
            f"- data: sha256 `{summary['data_sha256']}`",
            *([_PERSONAL] if summary.get("personal") else []),
            *([f"- stopped early: {summary['stopped']}"] if summary.get("stopped") else []),
            "",
            *(["## Loading", "", "In the folder that has `summary.json`:", ""] if how else []),
            *(["```python", *how, "```", ""] if how else []),
            "## Rounds",
            "",
            f"| round | {task.metric} | loss | bytes up | bytes down | peak memory (bytes) "
            "| clients |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _number(row: Mapping[str, Any], name: str) -> str:
    value = row["metrics"].get(name)
    return "" if value is None else f"{value:.4f}"
