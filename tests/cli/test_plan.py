from __future__ import annotations

import signal
from pathlib import Path

import pytest

from cli import plan
from cli.plan import Layout, commands
from cli.process import Command
from cli.state import Home

ENVIRON = {
    "PATH": "/bin",
    "FEDKRSO_API_KEY": "of-the-user",
    "FEDKRSO_DATABASE_URL": "postgresql://secret@host/db",
    "AWS_SECRET_ACCESS_KEY": "of-the-bucket",
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.prepare()
    return made


@pytest.fixture
def planned(home: Home) -> dict[str, Command]:
    layout = Layout("127.0.0.1", 8123, "http://127.0.0.1:8123", 2, 8501)
    return {command.name: command for command in commands(home, layout, ENVIRON)}


def test_the_service_is_an_api_a_coordinator_workers_and_a_dashboard(
    planned: dict[str, Command],
) -> None:
    assert list(planned) == ["api", "coordinator", "worker1", "worker2", "dashboard"]
    assert "worker.tasks:app worker -P solo -n worker2@%h" in " ".join(planned["worker2"].arguments)
    assert "api.coordinator.app:app worker" in " ".join(planned["coordinator"].arguments)
    assert "--server.port 8501" in " ".join(planned["dashboard"].arguments)
    assert "--port 8123" in " ".join(planned["api"].arguments)


def test_workers_stop_first_and_the_api_last(planned: dict[str, Command]) -> None:
    ordered = sorted(planned.values(), key=lambda command: command.stage)
    names = [command.name for command in ordered]
    assert names == ["worker1", "worker2", "coordinator", "dashboard", "api"]


def test_each_process_gets_only_the_secrets_it_needs(
    home: Home, planned: dict[str, Command]
) -> None:
    secret = {
        name: {key for key in command.environ if "KEY" in key or "DATABASE" in key}
        for name, command in planned.items()
    }
    bootstrap = {"FEDKRSO_BOOTSTRAP_API_KEY", "FEDKRSO_BOOTSTRAP_WORKER_KEY"}
    stores = {"FEDKRSO_DATABASE_URL", "AWS_SECRET_ACCESS_KEY"}
    assert secret["api"] == {*stores, "FEDKRSO_METRICS_KEY", *bootstrap}
    assert secret["coordinator"] == stores
    assert secret["worker1"] == secret["dashboard"] == {"FEDKRSO_API_KEY"}
    assert planned["worker1"].environ["FEDKRSO_API_KEY"] == home.secret("worker_key")
    assert planned["dashboard"].environ["FEDKRSO_API_KEY"] == home.secret("api_key")


def test_no_key_is_an_argument_that_other_users_could_see(
    home: Home, planned: dict[str, Command]
) -> None:
    words = [word for command in planned.values() for word in command.arguments]
    assert not any(
        home.secret(name) in word for name in ("api_key", "worker_key") for word in words
    )


def test_every_process_knows_the_folder_the_server_and_its_threads(
    home: Home, planned: dict[str, Command]
) -> None:
    for command in planned.values():
        assert command.environ["FEDKRSO_HOME"] == str(home.path)
        assert command.environ["FEDKRSO_SERVER"] == "http://127.0.0.1:8123"
        assert command.environ["FEDKRSO_THREADS"] == command.environ["OMP_NUM_THREADS"]
        assert int(command.environ["FEDKRSO_THREADS"]) >= 1
        assert command.environ["PATH"] == "/bin"


def test_threads_that_the_user_set_are_kept(home: Home) -> None:
    layout = Layout("127.0.0.1", 8123, "http://127.0.0.1:8123", 1)
    for command in commands(home, layout, {"FEDKRSO_THREADS": "3"}):
        assert command.environ["OMP_NUM_THREADS"] == "3"


def test_without_a_dashboard_or_workers_there_are_two_processes(home: Home) -> None:
    layout = Layout("127.0.0.1", 8123, "http://127.0.0.1:8123", 0)
    assert [command.name for command in commands(home, layout, {})] == ["api", "coordinator"]


def test_the_embedded_database_is_in_the_state_folder(home: Home) -> None:
    assert plan.database_url(home, {}) == f"sqlite:///{home.path}/fedkrso.db"
    assert plan.database_url(home, ENVIRON) == "postgresql://secret@host/db"


def test_an_orphaned_worker_is_killed_for_it_would_finish_its_task_first(
    planned: dict[str, Command],
) -> None:
    assert planned["worker1"].orphan_signal == signal.SIGKILL
    assert planned["api"].orphan_signal == signal.SIGTERM
