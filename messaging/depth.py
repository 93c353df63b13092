"""How many messages wait in the broker, and whether it takes one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from messaging.queues import Broker

QUEUES = ("clients", "coordinator")
_CONNECT_S = 2.0


def depths(app: Celery, broker: Broker) -> dict[str, int]:
    """Messages waiting in each queue by its purpose; a queue that nobody has used yet has none.

    Raises what kombu raises if the broker does not answer.
    """
    names: Mapping[str, str] = {name: getattr(broker, name) for name in QUEUES}
    with _connection(app) as connection, connection.channel() as channel:
        return {purpose: depth(app, channel, name) for purpose, name in names.items()}


def depth(app: Celery, channel: Any, name: str) -> int:
    """Messages waiting in a queue of the application."""
    as_sent = app.amqp.queues[name]
    # declared anew: a passive look at a queue that is not there yet is an error, and with Redis'
    # key prefix it finds none of those that are
    found = channel.queue_declare(
        name,
        durable=as_sent.durable,
        auto_delete=as_sent.auto_delete,
        arguments=as_sent.queue_arguments,
    )
    return int(found.message_count)


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
