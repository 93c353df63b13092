"""A job whose clients reach the service over a network that breaks every connection."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.flow.bad_network import Network
from tests.flow.proof import Undisturbed, assert_unharmed
from tests.flow.rig import Rig, environ_of
from tests.flow.tiny import wider_model

pytestmark = pytest.mark.slow


def test_nothing_passes_a_cable_that_is_pulled_out_until_it_is_there_again() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as service,
        Network(service.getsockname()[1], delay_s=0.0) as network,
        socket.create_connection(("127.0.0.1", network.listens_at), 10) as client,
        service.accept()[0] as server,
    ):
        client.sendall(b"before")
        assert server.recv(100) == b"before"
        network.pull_out()
        server.settimeout(0.5)
        client.sendall(b"meanwhile")
        with pytest.raises(TimeoutError):
            server.recv(100)
        network.plug_in()
        server.settimeout(60)
        assert server.recv(100) == b"meanwhile"


def test_hardly_a_byte_is_sent_twice_over_connections_that_break(
    tmp_path: Path,
    tiny_model: Path,
    job: dict[str, Any],
    undisturbed: Callable[[dict[str, Any]], Undisturbed],
) -> None:
    job["model"] = str(wider_model(tiny_model, tmp_path / "model"))
    job["method"] = {"name": "fedavg"}
    job |= {"rounds": 2, "clients": {"count": 2, "per_round": 2}}
    alone = undisturbed(job)
    with Rig(tmp_path / "home", environ_of(FEDKRSO_LEASE_S="10")) as rig:
        with Network(urlsplit(rig.url).port or 0) as network:
            through = {"FEDKRSO_SERVER": f"http://127.0.0.1:{network.listens_at}"}
            for name in ("worker1", "worker2"):
                command = rig.commands[name]
                rig.commands[name] = replace(command, environ={**command.environ, **through})
            rig.start_all()
            job_id = rig.submit(job)
            assert_unharmed(rig, job_id, alone)
            rig.kill("worker1", "worker2")
        found = rig.job(job_id)
        seats = [seat for number in (1, 2) for seat in rig.seats(job_id, number)]
    assert [seat["attempt"] for seat in seats] == [1] * 4
    assert found["bytes_up"] > 4 * 700_000
    assert network.cut >= 10
    # what is above are headers, heartbeats, and what was lost with the connections
    assert network.up < 1.10 * found["bytes_up"], (network, found["bytes_up"])
    assert network.down < 1.10 * found["bytes_down"], (network, found["bytes_down"])
