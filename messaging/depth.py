"""How many messages wait in the broker, and whether it takes one."""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu import Connection, Exchange, Queue
from kombu.exceptions import ChannelError

from messaging.queues import CLIENTS_QUEUE, COORDINATOR_QUEUE

QUEUES = (CLIENTS_QUEUE, COORDINATOR_QUEUE)
_CONNECT_S = 2.0


def depths(app: Celery) -> dict[str, int]:
    """Messages waiting in each queue; a queue that nobody has used yet has none.

    Raises what kombu raises if the broker does not answer.
    """
    with _connection(app) as connection:
        return {name: _depth(connection, name) for name in QUEUES}


def _depth(connection: Connection, name: str) -> int:
    with connection.channel() as channel:
        try:
            declared = channel.queue_declare(queue=name, passive=True)
        except ChannelError:
            return 0
        return int(declared.message_count)


def probe(app: Celery) -> None:
    """Sends a message to a queue of its own and takes it out again; raises if that fails.

    A broker may answer and yet take nothing: its disk is full, or it is a replica.
    """
    with _connection(app) as connection, connection.channel() as channel:
        queue = _PROBE(channel)
        with connection.Producer(channel) as producer:
            producer.publish(
                "ready?", exchange=_PROBE.exchange, routing_key=_PROBE.name, declare=[queue],
                serializer="json", delivery_mode="transient", retry=False,
            )  # fmt: skip
        queue.purge()


def _connection(app: Celery) -> Any:
    return app.connection_for_write(connect_timeout=_CONNECT_S)


# RabbitMQ forgets the queue a minute after the last probe
_PROBE = Queue(
    "fedkrso.probe",
    Exchange("fedkrso.probe", durable=False),
    routing_key="fedkrso.probe",
    durable=False,
    expires=60,
)
