"""Settings of the queue, the same for those who send hints and those who take them.

The queue only hints that there is work: a lost, doubled or late message changes nothing. So
results are ignored, messages are JSON, and no recovery is left to the broker.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kombu.transport import TRANSPORT_ALIASES

# kombu's own channel can hand a reader an empty message: see `messaging.files`
TRANSPORT_ALIASES["filesystem"] = "messaging.files:Transport"

CLIENTS_QUEUE = "clients"
COORDINATOR_QUEUE = "coordinator"
TRAIN_TASK = "worker.train"
ADVANCE_TASK = "coordinator.advance"
EXPORT_TASK = "coordinator.export"
COLLECT_TASK = "coordinator.collect"

_POLL_S = 0.1
_LONGEST_TASK_S = 7200


def settings(broker_url: str, folder: Path) -> dict[str, Any]:
    """Celery's configuration for a broker; `folder` is where filesystem:// keeps its messages."""
    return {
        "broker_url": broker_url,
        "broker_transport_options": _transport(broker_url, folder),
        "broker_connection_retry_on_startup": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_acks_late": True,
        # a lost worker is noticed by its lease, in one place; redelivery would race with that
        "task_reject_on_worker_lost": False,
        "worker_prefetch_multiplier": 1,
        "worker_enable_remote_control": not broker_url.startswith("filesystem"),
        "worker_hijack_root_logger": False,
        "worker_send_task_events": False,
        "task_routes": {
            TRAIN_TASK: {"queue": CLIENTS_QUEUE},
            ADVANCE_TASK: {"queue": COORDINATOR_QUEUE},
            EXPORT_TASK: {"queue": COORDINATOR_QUEUE},
            COLLECT_TASK: {"queue": COORDINATOR_QUEUE},
        },
    }


def _transport(broker_url: str, folder: Path) -> dict[str, Any]:
    if broker_url.startswith("filesystem"):
        for name in ("messages", "taken", "control"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        return {
            "data_folder_in": str(folder / "messages"),
            "data_folder_out": str(folder / "messages"),
            "processed_folder": str(folder / "taken"),
            "control_folder": str(folder / "control"),
            "polling_interval": _POLL_S,
        }
    if broker_url.startswith("redis"):
        return {
            "visibility_timeout": _LONGEST_TASK_S,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
        }
    return {}
