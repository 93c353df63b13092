"""Settings of the queue, the same for those who send hints and those who take them.

The queue only hints that there is work: a lost, doubled or late message changes nothing. So
results are ignored, messages are JSON, and no recovery is left to the broker.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kombu import Exchange, Queue
from kombu.transport import TRANSPORT_ALIASES

# kombu's own channel can hand a reader an empty message: see `messaging.files`
TRANSPORT_ALIASES["filesystem"] = "messaging.files:Transport"

TRAIN_TASK = "worker.train"
FORGET_TASK = "worker.forget"
ADVANCE_TASK = "coordinator.advance"
EXPORT_TASK = "coordinator.export"
COLLECT_TASK = "coordinator.collect"

PREFIX = "fedkrso"
NAME = r"^[A-Za-z0-9_-]{1,64}$"  # what a prefix may be: colons and dots divide names of queues
LONGEST_TASK_S = 7200.0

_POLL_S = 0.1
_ANSWER_S = 2.0  # a broker that does not answer within this is taken to be away
# for whoever sends; a worker that has lost its broker tries for ever
_ONCE_MORE = {"max_retries": 1, "interval_start": 0, "interval_step": 0}


@dataclass(frozen=True)
class Broker:
    """Where the queue is, and what keeps two installations on it apart.

    `folder` is where filesystem:// keeps its messages. `longest_task_s` is above what is worked on
    one hint: Redis gives a hint to another worker after it, and a prefork worker replaces a process
    that works longer.
    """

    url: str
    folder: Path
    prefix: str = PREFIX
    longest_task_s: float = LONGEST_TASK_S

    @property
    def clients(self) -> str:
        """The queue of hints for training clients."""
        return self._named("clients")

    @property
    def coordinator(self) -> str:
        """The queue of hints for coordinators."""
        return self._named("coordinator")

    def _named(self, queue: str) -> str:
        # Redis keeps every key under the prefix, the folder is one installation's anyway
        return f"{self.prefix}.{queue}" if self.url.startswith(("amqp", "pyamqp")) else queue

    def settings(self) -> dict[str, Any]:
        """Celery's configuration."""
        clients, coordinator = {"queue": self.clients}, {"queue": self.coordinator}
        return {
            "broker_url": self.url,
            "broker_transport_options": self._transport(),
            "broker_connection_timeout": _ANSWER_S,
            "broker_connection_retry_on_startup": True,
            "broker_connection_max_retries": None,  # a worker outlasts any outage of the broker
            # a solo worker answers nothing while it trains, heartbeats of AMQP neither
            "broker_heartbeat": 0,
            "task_serializer": "json",
            "accept_content": ["json"],
            "task_ignore_result": True,
            "task_acks_late": True,
            # a lost worker is noticed by its lease, in one place; redelivery would race with that
            "task_reject_on_worker_lost": False,
            # enforced by prefork workers alone
            "task_time_limit": self.longest_task_s,
            "worker_prefetch_multiplier": 1,
            "worker_enable_remote_control": not self.url.startswith("filesystem"),
            "worker_hijack_root_logger": False,
            "worker_send_task_events": False,
            # training goes on without the broker: all it was told is that there is work
            "worker_cancel_long_running_tasks_on_connection_loss": False,
            "task_queues": [self._queue(self.clients), self._queue(self.coordinator)],
            "task_routes": {
                TRAIN_TASK: clients,
                FORGET_TASK: clients,
                ADVANCE_TASK: coordinator,
                EXPORT_TASK: coordinator,
                COLLECT_TASK: coordinator,
            },
        }

    def _queue(self, name: str) -> Queue:
        # RabbitMQ from 3.12 on: half an hour without an acknowledgement is not an error here
        timeout = {"x-consumer-timeout": int(self.longest_task_s * 1000)}
        return Queue(name, Exchange(name), routing_key=name, queue_arguments=timeout)

    def _transport(self) -> dict[str, Any]:
        if self.url.startswith("filesystem"):
            return _files(self.folder)
        if self.url.startswith("redis"):
            return {
                "global_keyprefix": f"{self.prefix}:",
                # a hint that comes again is harmless, so the longest task need not be exact
                "visibility_timeout": self.longest_task_s,
                "unacked_restore_interval": 10,
                "unacked_restore_throttle": 1,
                **_ONCE_MORE,
                "socket_connect_timeout": _ANSWER_S,
                "socket_timeout": _ANSWER_S,
                "socket_keepalive": True,
            }
        return dict(_ONCE_MORE)


def _files(folder: Path) -> dict[str, Any]:
    for name in ("messages", "taken", "control"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return {
        "data_folder_in": str(folder / "messages"),
        "data_folder_out": str(folder / "messages"),
        "processed_folder": str(folder / "taken"),
        "control_folder": str(folder / "control"),
        "polling_interval": _POLL_S,
    }
