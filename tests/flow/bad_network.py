"""A network that is slow and breaks every connection: a TCP proxy in front of the service."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

_CHUNK_BYTES = 8 * 1024


@dataclass
class Network:
    """Adds a delay to each direction, limits the rate, cuts a connection after so many bytes."""

    port: int
    delay_s: float = 0.3
    bytes_per_s: float = 1e6
    cut_after: int = 200_000
    host: str = "127.0.0.1"
    up: int = 0  # bytes that came from the client's side, those that were lost included
    down: int = 0
    cut: int = 0
    listens_at: int = 0

    def __enter__(self) -> Network:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._open = asyncio.Event()
        self.plug_in()
        self._server = self._call(asyncio.start_server(self._carry, self.host, 0, limit=8192))
        self.listens_at = self._server.sockets[0].getsockname()[1]
        return self

    def pull_out(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def plug_in(self) -> None:
        """What was on its way arrives, and all else after it."""
        self._loop.call_soon_threadsafe(self._open.set)

    def __exit__(self, *_: object) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        others = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _call(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _carry(self, here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        left = [self.cut_after]
        await self._open.wait()
        try:
            there, on = await asyncio.open_connection("127.0.0.1", self.port, limit=8192)
        except OSError:  # the service is not there
            back.close()
            return
        ways = (self._pass(here, on, left, "up"), self._pass(there, back, left, "down"))
        tasks = [asyncio.create_task(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in (on, back):
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, left: list[int], way: str
    ) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        late = asyncio.create_task(self._deliver(queue, sink))
        loop = asyncio.get_running_loop()
        try:
            while chunk := await source.read(_CHUNK_BYTES):
                setattr(self, way, getattr(self, way) + len(chunk))
                await queue.put((loop.time() + self.delay_s, chunk))
                await asyncio.sleep(len(chunk) / self.bytes_per_s)
                left[0] -= len(chunk)
                if left[0] <= 0:
                    self.cut += 1
                    break
            await queue.join()  # what was on its way arrives
        finally:
            late.cancel()

    async def _deliver(
        self, queue: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, chunk = await queue.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            await self._open.wait()
            with suppress(OSError):
                sink.write(chunk)
                await sink.drain()
            queue.task_done()
