"""Processes that are forked with the libraries loaded, against those that begin from nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cli import process
from cli.process import Command, Forked, Process, start

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks only on Linux")
ROOT = Path(__file__).parents[2]
SAYS = """
import os, sys
print(os.getpid(), os.getsid(0), os.getcwd(), sys.argv, flush=True)
print(sorted(os.environ), os.environ["WORD"], 'torch' in sys.modules, flush=True)
print(oct(os.umask(0)), file=sys.stderr, flush=True)
"""


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., Command]:
    def make(code: str, **more: str) -> Command:
        (tmp_path / "spoken.py").write_text(code)
        environ = {"WORD": "given", "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"} | more
        words = (sys.executable, "-m", "spoken", "one", "--two")
        return Command("said", words, environ, tmp_path / "said.log", tmp_path, preload=True)

    return make


def ended(running: Process, timeout_s: float = 60.0) -> int:
    give_up = time.monotonic() + timeout_s
    while (code := running.poll()) is None:
        assert time.monotonic() < give_up, "it did not end"
        time.sleep(0.02)
    return code


@pytest.mark.slow
def test_a_fork_is_the_same_program_with_the_libraries_loaded(
    command: Callable[..., Command],
) -> None:
    there = command(SAYS)
    said = []
    for preload in (True, False):
        running = start(replace(there, preload=preload))
        assert isinstance(running, Forked) == preload
        assert ended(running) == 0
        who, environ, umask = there.log.read_text().splitlines()
        there.log.unlink()
        pid, session, folder, argv = who.split(maxsplit=3)
        assert int(pid) == int(session) == running.pid
        assert folder == str(there.folder)
        assert argv.endswith("'one', '--two']")
        names, word, has_torch = environ.rsplit(maxsplit=2)
        assert (word, has_torch) == ("given", str(preload))
        said.append((names.replace("'LC_CTYPE', ", ""), umask))
    assert said[0] == said[1]
    assert said[0][1] == "0o77"


@pytest.mark.slow
def test_how_it_ended_is_told_as_popen_does(command: Callable[..., Command]) -> None:
    assert ended(start(command("raise SystemExit(3)"))) == 3
    running = start(command("import time; time.sleep(60)"))
    running.kill()
    running.wait()
    assert running.poll() == -signal.SIGKILL
    there = command("import gone_missing")
    assert ended(start(there)) == 1
    assert "No module named 'gone_missing'" in there.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("dies", ["parent", "server"])
def test_a_fork_does_not_outlive_those_that_made_it(
    command: Callable[..., Command], tmp_path: Path, dies: str
) -> None:
    there = command("import os, time; print(os.getpid(), os.getppid(), flush=True); time.sleep(60)")
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom cli import process\n"
        "from cli.process import Command, start\n"
        "process._PRELOADED = 'no_library'\n"
        "if __name__ == '__main__':\n"
        f"    start(Command('x', {there.arguments!r}, {dict(there.environ)!r},"
        f" Path({str(there.log)!r}), Path({str(tmp_path)!r}), preload=True))\n"
        "    time.sleep(60)\n"
    )
    (tmp_path / "parent.py").write_text(code)
    # as cli.preload, but for the ten seconds that its libraries take
    bond = "import signal\nfrom cli import tether\ntether.end_with_parent(signal.SIGKILL)\n"
    (tmp_path / "no_library.py").write_text(bond)
    environ = dict(os.environ) | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    with subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], env=environ) as parent:
        give_up = time.monotonic() + 60
        while not (there.log.exists() and there.log.read_text().endswith("\n")):
            assert time.monotonic() < give_up
            time.sleep(0.05)
        child, server = map(int, there.log.read_text().split())
        os.kill(parent.pid if dies == "parent" else server, signal.SIGKILL)
        while Path(f"/proc/{child}").exists() and "Z" not in state(child):
            assert time.monotonic() < give_up, "it lives on"
            time.sleep(0.05)
        parent.kill()


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:
        return "Z"


def test_the_fork_server_is_told_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKRSO_DATABASE_URL", "postgresql://u:word@h/d")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "word")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    before = dict(os.environ)
    with process._environment_of_the_server({"OMP_NUM_THREADS": "2"}):
        assert "word" not in " ".join(os.environ.values())
        assert os.environ["OMP_NUM_THREADS"] == "2"
        assert os.environ["PATH"] == before["PATH"]
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("device", "gpu", "forks"),
    [("", False, True), ("", True, False), ("cpu", True, True), ("cuda:0", False, False)],
)
def test_nothing_is_forked_that_may_use_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, gpu: bool, forks: bool
) -> None:
    monkeypatch.setattr(process, "_GPUS", (str(tmp_path if gpu else tmp_path / "none"),))
    assert process._may_fork({"FEDKRSO_DEVICE": device}) == forks
