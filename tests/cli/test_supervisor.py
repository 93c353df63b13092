from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.child import Child, backoff_s, rotate
from cli.process import Command
from cli.supervisor import Supervisor

SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
SAYS_PID = "import os; print(os.getpid(), flush=True)\n"

MakeCommand = Callable[..., Command]


@pytest.fixture
def command(tmp_path: Path) -> MakeCommand:
    def make(name: str, code: str, stage: int = 0, **environ: str) -> Command:
        return Command(
            name,
            (sys.executable, "-I", "-S", "-c", code),
            environ,
            tmp_path / f"{name}.log",
            tmp_path,
            stage,
        )

    return make


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervise(said: list[str]) -> Iterator[Callable[..., Supervisor]]:
    started = []

    def start(*commands: Command, grace_s: float = 5.0) -> Supervisor:
        supervisor = Supervisor(commands, said.append, grace_s)
        supervisor.start()
        started.append(supervisor)
        return supervisor

    yield start
    for supervisor in started:
        supervisor.hurry()
        supervisor.stop()


def wait_for(happened: Callable[[], object], timeout_s: float = 10.0) -> None:
    give_up = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.02)


def pids_in(log: Path) -> list[int]:
    if not log.exists():
        return []
    return [int(line) for line in log.read_text().splitlines() if line.isdigit()]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    try:
        # a zombie whose new parent has not collected it yet is dead
        return not state.parent.parent.exists() or state.read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def test_waits_between_starts_double_up_to_half_a_minute() -> None:
    assert [backoff_s(deaths) for deaths in (1, 2, 3, 6, 7, 99)] == [0.5, 1, 2, 16, 30, 30]


def test_a_log_that_grew_too_long_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_text("12345")
    rotate(log, limit_bytes=5)
    assert log.exists()
    rotate(log, limit_bytes=4)
    assert not log.exists()
    assert (tmp_path / "api.log.1").read_text() == "12345"


def test_a_child_has_only_the_environment_it_is_given(
    command: MakeCommand, supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    code = "import os; print(sorted(os.environ), os.getcwd(), flush=True)\n" + SLEEP
    supervise(command("quiet", code, ONLY="this"))
    log = tmp_path / "quiet.log"
    wait_for(lambda: log.exists() and log.read_text().endswith("\n"))
    names, folder = log.read_text().strip().rsplit(" ", 1)
    assert "ONLY" in names
    assert "HOME" not in names
    assert folder == str(tmp_path)


def test_a_child_that_dies_is_started_again_and_it_is_said(
    command: MakeCommand, supervise: Callable[..., Supervisor], said: list[str], tmp_path: Path
) -> None:
    supervise(command("worker1", SAYS_PID + SLEEP))
    log = tmp_path / "worker1.log"
    wait_for(lambda: pids_in(log))
    os.kill(pids_in(log)[0], signal.SIGKILL)
    wait_for(lambda: len(pids_in(log)) == 2)
    assert said[0].startswith("worker1 ended on SIGKILL after ")
    assert said[0].endswith(f"starting it again in 0.5 s ({log})")


def test_a_child_that_dies_at_once_each_time_is_stuck_and_its_log_says_why(
    command: MakeCommand, supervise: Callable[..., Supervisor], said: list[str]
) -> None:
    supervisor = supervise(command("api", "raise SystemExit('no such table')"))
    wait_for(supervisor.stuck)
    child = supervisor.stuck()
    assert child is not None
    assert child.command.name == "api"
    assert child.tail(1) == ["no such table"]
    assert [line.split(" after")[0] for line in said] == ["api ended with exit code 1"] * 3


def test_a_program_that_does_not_exist_is_reported_by_its_log(
    tmp_path: Path, supervise: Callable[..., Supervisor], said: list[str]
) -> None:
    command = Command("gone", ("/nowhere/program",), {}, tmp_path / "gone.log", tmp_path)
    supervise(command)
    wait_for(lambda: said)
    assert "No such file" in (tmp_path / "gone.log").read_text()


def test_stopping_goes_stage_by_stage_and_leaves_nothing(
    command: MakeCommand, supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    order = tmp_path / "order"
    code = SAYS_PID + (
        "import signal, sys, time\n"
        "def end(*_):\n"
        "    time.sleep(0.1)\n"
        "    open({order!r}, 'a').write({name!r} + ' ')\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    stages = {"api": 3, "worker1": 0, "dashboard": 2, "coordinator": 1}
    logs = [tmp_path / f"{name}.log" for name in stages]
    supervisor = supervise(
        *(
            command(name, code.format(order=str(order), name=name), stage)
            for name, stage in stages.items()
        )
    )
    wait_for(lambda: all(log.exists() and "ready" in log.read_text() for log in logs))
    pids = [pid for log in logs for pid in pids_in(log)]
    supervisor.stop()
    assert order.read_text().split() == ["worker1", "coordinator", "dashboard", "api"]
    assert not any(map(is_alive, pids))


def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(
    command: MakeCommand, supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    supervisor = supervise(command("worker1", STUBBORN + SAYS_PID + SLEEP), grace_s=0.3)
    wait_for(lambda: pids_in(tmp_path / "worker1.log"))
    began = time.monotonic()
    supervisor.stop()
    assert 0.3 <= time.monotonic() - began < 3
    assert not is_alive(pids_in(tmp_path / "worker1.log")[0])


def test_hurrying_does_not_wait_for_the_grace(
    command: MakeCommand, supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    supervisor = supervise(command("worker1", STUBBORN + SAYS_PID + SLEEP), grace_s=60)
    wait_for(lambda: pids_in(tmp_path / "worker1.log"))
    threading.Timer(0.2, supervisor.hurry).start()
    began = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - began < 5
    assert not is_alive(pids_in(tmp_path / "worker1.log")[0])


def test_what_a_child_started_ends_with_it(
    command: MakeCommand, supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    code = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-I', '-S', '-c', {STUBBORN + SAYS_PID + SLEEP!r}])\n"
        "time.sleep(60)\n"
    )
    supervisor = supervise(command("worker1", code))
    wait_for(lambda: pids_in(tmp_path / "worker1.log"))
    supervisor.stop()
    wait_for(lambda: not is_alive(pids_in(tmp_path / "worker1.log")[0]))


def test_a_child_that_was_never_started_stops_as_well(command: MakeCommand) -> None:
    Supervisor([command("never", SLEEP)], print).stop()
    child = Child(command("never", SLEEP))
    child.ask_to_end()
    child.kill_group()
    assert child.pid is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a death")
def test_children_of_a_killed_supervisor_end(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from cli.process import Command\n"
        "from cli.supervisor import Supervisor\n"
        f"code = {SAYS_PID + SLEEP!r}\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "arguments = (sys.executable, '-I', '-S', '-c', code)\n"
        "Supervisor([Command('child', arguments, {}, folder / 'child.log', folder)], print)"
        ".start()\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2]) as owner:
        wait_for(lambda: pids_in(log))
        owner.kill()
    wait_for(lambda: not is_alive(pids_in(log)[0]))
