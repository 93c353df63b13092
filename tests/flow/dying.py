"""Runs a program of the service that dies, by SIGKILL, at an exactly chosen moment.

python -m tests.flow.dying MOMENT MODULE [ARGUMENT ...] is python -m MODULE [ARGUMENT ...], with one
function wrapped. The service's own code knows nothing of it.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def while_training() -> None:
    """A worker in the middle of a client's steps."""
    from worker.client import Progress

    step = Progress.on_step

    def on_step(self: Any, number: int) -> None:
        step(self, number)
        if number == 7:
            die()

    Progress.on_step = on_step  # type: ignore[method-assign]


def while_uploading() -> None:
    """A worker that has sent half of its update."""
    import httpx

    put = httpx.Client.put

    def parts(body: bytes) -> Iterator[bytes]:
        yield body[: len(body) // 2]
        time.sleep(0.2)  # it is on its way
        die()

    def half(self: Any, url: str, *, content: bytes, headers: Any, **rest: Any) -> httpx.Response:
        length = {"Content-Length": str(len(content))}
        return put(self, url, content=parts(content), headers=headers | length, **rest)

    httpx.Client.put = half  # type: ignore[method-assign,assignment]


def while_aggregating() -> None:
    """A coordinator that has read one of the updates."""
    from api.coordinator import rounds

    inputs = rounds._inputs

    def some(*arguments: Any) -> Any:
        state, updates, *more = inputs(*arguments)
        return state, first_of(updates), *more

    def first_of(updates: Any) -> Iterator[Any]:
        yield next(iter(updates))
        die()

    rounds._inputs = some


def before_closing() -> None:
    """A coordinator that has written the new state but not yet the round's row."""
    from api.coordinator import rounds

    rounds._close = lambda *_: die()  # type: ignore[assignment,return-value]


def after_closing() -> None:
    """A coordinator that has closed the round and told nobody."""
    from api.coordinator import rounds

    close = rounds._close
    rounds.queue = type("Silence", (), {"hint_training": lambda *_: None})  # type: ignore[assignment,misc]

    def and_die(*arguments: Any) -> bool:
        if close(*arguments):
            die()
        return False

    rounds._close = and_die


def while_measuring() -> None:
    """A coordinator that has closed a round, opened the next and evaluates the model."""
    from api.coordinator import rounds

    rounds._quality = lambda *_: die()  # type: ignore[assignment,return-value]


def on_request(path: str, method: str, wrap: Callable[[Any, Any], tuple[Any, Any]]) -> None:
    """The API, while it handles a request to a path that ends like this."""
    from fastapi import FastAPI

    call = FastAPI.__call__

    async def wrapped(self: Any, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == method and path in scope["path"]:
            receive, send = wrap(receive, send)
        await call(self, scope, receive, send)

    FastAPI.__call__ = wrapped  # type: ignore[method-assign]


def while_receiving() -> None:
    """The API with half of an update."""

    def wrap(receive: Any, send: Any) -> tuple[Any, Any]:
        seen: list[Any] = []

        async def half() -> Any:
            if seen:
                die()
            seen.append(await receive())
            body = seen[0]["body"]
            return seen[0] | {"body": body[: len(body) // 2], "more_body": True}

        return half, send

    on_request("/update", "PUT", wrap)


def while_sending() -> None:
    """The API that has sent half of a state."""

    def wrap(receive: Any, send: Any) -> tuple[Any, Any]:
        async def half(message: Any) -> None:
            if message["type"] == "http.response.body":
                body = message["body"]
                await send(message | {"body": body[: len(body) // 2], "more_body": True})
                die()
            await send(message)

        return receive, half

    on_request("/blobs/", "GET", wrap)


def before_answering() -> None:
    """The API that has accepted an update and not said so."""

    def wrap(receive: Any, send: Any) -> tuple[Any, Any]:
        async def silence(_message: Any) -> None:
            die()

        return receive, silence

    on_request("/update", "PUT", wrap)


def clock_off(seconds: float) -> Callable[[], None]:
    """Nothing dies, but the process's clock is wrong."""

    def shift() -> None:
        now = time.time
        time.time = lambda: now() + seconds

    return shift


def uploading_twice() -> None:
    """Nothing dies, but each update is sent twice; what was answered 200 is noted in a file."""
    import httpx

    put = httpx.Client.put
    noted = Path(os.environ["FEDKRSO_HOME"]) / "acknowledged"

    def twice(self: Any, url: str, **rest: Any) -> httpx.Response:
        answer = put(self, url, **rest)
        if answer.is_success:
            with noted.open("a", encoding="ascii") as file:
                file.write(f"{url.split('/')[3]} {answer.json()['digest']}\n")
            put(self, url, **rest)
        return answer

    httpx.Client.put = twice  # type: ignore[method-assign,assignment]


MOMENTS: dict[str, Callable[[], None]] = {
    "while-training": while_training,
    "while-uploading": while_uploading,
    "while-aggregating": while_aggregating,
    "before-closing": before_closing,
    "after-closing": after_closing,
    "while-measuring": while_measuring,
    "while-receiving": while_receiving,
    "while-sending": while_sending,
    "before-answering": before_answering,
    "uploading-twice": uploading_twice,
    "clock-an-hour-ahead": clock_off(3600),
    "clock-an-hour-behind": clock_off(-3600),
}


if __name__ == "__main__":
    moment, module, *arguments = sys.argv[1:]
    MOMENTS[moment]()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
