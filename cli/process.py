"""A process of the service, and its two beginnings: from nothing, or forked with libraries loaded.

Loading torch and transformers takes ten seconds of CPU and 200 MB, which every process of the
embedded service would spend anew. Those that need them are forked from one process that has loaded
them (multiprocessing's fork server): they begin at once and share that memory.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from setproctitle import setproctitle

from cli import tether

_PRELOADED = "cli.preload"
# a fork of a process that may have looked for a GPU cannot use it
_GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
# what only some processes may know; each is told what it may
_HIDDEN = ("FEDKRSO_", "AWS_")


@dataclass(frozen=True)
class Command:
    """What a child runs, and when it is stopped: stage 0 first."""

    name: str
    arguments: tuple[str, ...]
    environ: Mapping[str, str]
    log: Path
    folder: Path
    stage: int = 0
    orphan_signal: signal.Signals = signal.SIGTERM
    preload: bool = False  # it is python -m MODULE and will need the libraries


class Process(Protocol):
    """What subprocess.Popen offers of a running process."""

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""

    def terminate(self) -> None:
        """SIGTERM to the process alone."""

    def kill(self) -> None:
        """SIGKILL to the process alone."""

    def wait(self) -> object:
        """Return when it has ended."""


def start(command: Command) -> Process:
    """Start a command in a session of its own; it ends when this process does.

    Raises:
        OSError: the program is not there, or no process can be made.
    """
    if command.preload and _may_fork(command.environ):
        return Forked(command)
    return _spawned(command)


def _may_fork(environ: Mapping[str, str]) -> bool:
    device = environ.get("FEDKRSO_DEVICE", "")
    has_gpu = any(map(os.path.exists, _GPUS))
    return sys.platform == "linux" and (device == "cpu" or not (device or has_gpu))


def _spawned(command: Command) -> subprocess.Popen[bytes]:
    leash = (sys.executable, "-I", "-S", tether.__file__)
    to_whom = (str(int(command.orphan_signal)), str(os.getpid()))
    with command.log.open("ab") as log:
        return subprocess.Popen(
            [*leash, *to_whom, *command.arguments],
            env=dict(command.environ),
            cwd=command.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )


class Forked:
    """A process that begins as a copy of the one with the libraries."""

    def __init__(self, command: Command) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([_PRELOADED])
        self._process = context.Process(target=_become, args=(command,), daemon=True)
        with _environment_of_the_server(command.environ):
            try:
                self._process.start()
            except EOFError as error:  # the fork server ended this very moment
                raise OSError("the fork server does not answer") from error

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""
        assert self._process.pid is not None  # it was started
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def terminate(self) -> None:
        """SIGTERM to the process alone."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL to the process alone."""
        self._process.kill()

    def wait(self) -> None:
        """Return when it has ended."""
        self._process.join()


@contextmanager
def _environment_of_the_server(environ: Mapping[str, str]) -> Iterator[None]:
    """What the fork server inherits if it has to be started: no secret, the threads of a child."""
    before = dict(os.environ)
    hidden = [name for name in before if name.startswith(_HIDDEN)]
    for name in hidden:
        del os.environ[name]
    threads = environ.get("OMP_NUM_THREADS")
    if threads is not None:  # libraries read it once, when they are loaded
        os.environ["OMP_NUM_THREADS"] = threads
    try:
        yield
    finally:
        for name in (*hidden, "OMP_NUM_THREADS"):
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


def _become(command: Command) -> None:
    """Run the command's module in this process, a fork."""
    setproctitle(f"fedkrso {command.name}")  # first: it finds its place beside the environment
    os.setsid()
    supervisor = multiprocessing.parent_process()
    tether.end_with_parent(command.orphan_signal)
    if supervisor is None or not supervisor.is_alive():
        sys.exit("the supervisor ended before this process began")
    os.umask(0o077)
    with command.log.open("ab") as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())
    os.chdir(command.folder)
    os.environ.clear()
    os.environ.update(command.environ)
    # as an interpreter would begin with this environment: PYTHONPATH, and the folder before it
    sys.path[:0] = ["", *filter(None, command.environ.get("PYTHONPATH", "").split(os.pathsep))]
    module = command.arguments[2]
    sys.argv = [module, *command.arguments[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
