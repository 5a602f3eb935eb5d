"""The clients of benchmarks.restart: they connect, hold, request and chat while nodes are replaced.

Each client counts what a user would notice. A WebSocket that is closed with 1012 is connected again
at once; everything else that ends a connection early is a failure.
"""

import asyncio
import itertools
import json
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.servers import Failed

ECHO, VIEW, CHAT = "/echo/async/", "/test/wsgi/", "/chat/drill/ws/"
SERVICE_RESTART = 1012
PATIENCE_S = 30.0
SAY_EVERY_S = 0.1
"""Seconds between two messages of the chat, whose room keeps the newest 15."""

LOCAL_ADDRESSES = 50
"""Clients connect from so many loopback addresses: a node limits the connections of one."""

WRK = ("-t1", "-c16", "-d600s", "--timeout", "10s")
"""wrk's arguments. It is interrupted at the end of the round, and prints its result then."""


@dataclass
class Observed:
    """What the clients have seen.

    Attributes:
        counts: What happened, by name.
        failures: Each failure, as one line.
        closed_at: When each held WebSocket was closed with 1012; seconds of the monotonic clock.
        said: The ids of the chat's messages that its publisher has received back.
        seen: For each subscriber of the chat, the ids that it has received.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    closed_at: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    seen: list[set[str]] = field(default_factory=list)

    def failed(self, client: str, error: BaseException | str) -> None:
        """Record a failure."""
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        self.failures.append(f"{client}: {text}")


class Load:
    """All clients of one server.

    Args:
        port: Its port on 127.0.0.1.
        connectors: Clients that connect, echo a message, and close, repeatedly.
        holders: WebSockets that stay open.
        requesters: HTTP connections that request a view repeatedly.
        subscribers: Members of the chat's room.
        with_wrk: Whether wrk requests the view, too. Raises Failed if it is not installed.
    """

    def __init__(
        self,
        port: int,
        connectors: int,
        holders: int,
        requesters: int,
        subscribers: int,
        with_wrk: bool = False,
    ) -> None:
        self._wrk = shutil.which("wrk") if with_wrk else ""
        if self._wrk is None:
            raise Failed("wrk is not installed (apt-get install wrk)")
        self.observed = Observed()
        self._port = port
        self._sizes = connectors, holders, requesters, subscribers
        self._stop = asyncio.Event()
        self._publisher: asyncio.Task[None] | None = None
        self._is_silent = False
        self._addresses = itertools.cycle(range(1, LOCAL_ADDRESSES + 1))
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start all clients; returns when those that hold connections have them."""
        connectors, holders, requesters, subscribers = self._sizes
        ready = [asyncio.Event() for _ in range(holders + subscribers)]
        self.observed.seen = [set() for _ in range(subscribers)]
        for number in range(subscribers):
            self._run(self._subscribe(number, ready[holders + number]))
        for number in range(holders):
            self._run(self._hold(ready[number]))
            if number % 50 == 49:  # a client has PATIENCE_S, and then it has failed
                await ready[number].wait()
        for event in ready:
            await event.wait()
        for _ in range(connectors):
            self._run(self._connect_repeatedly())
        for _ in range(requesters):
            self._run(self._request_repeatedly())
        if self._wrk:
            self._run(self._request_with(self._wrk))
        if subscribers:
            self._publisher = asyncio.ensure_future(self._say())

    async def stop(self) -> Observed:
        """Stop all clients, and return what they have seen."""
        self._is_silent = True
        if self._publisher is not None:
            await asyncio.wait((self._publisher,), timeout=PATIENCE_S)
            said, deadline = set(self.observed.said), time.monotonic() + PATIENCE_S
            while not all(said <= seen for seen in self.observed.seen):
                if time.monotonic() > deadline:
                    break
                await asyncio.sleep(SAY_EVERY_S)
        self._stop.set()
        _, unfinished = await asyncio.wait(self._tasks, timeout=2 * PATIENCE_S)
        for task in unfinished:
            self.observed.failed("a client", "it did not end")
            task.cancel()
        return self.observed

    def _run(self, client: Awaitable[None]) -> None:
        self._tasks.append(asyncio.ensure_future(client))

    def _open(self, path: str) -> connect:
        return connect(
            f"ws://127.0.0.1:{self._port}{path}",
            local_addr=(f"127.0.0.{next(self._addresses)}", 0),
            ping_interval=None,
            compression=None,
            open_timeout=PATIENCE_S,
            close_timeout=PATIENCE_S,
        )

    def _was_restart(self, client: str, error: ConnectionClosed) -> bool:
        """Whether the server announced the end; otherwise record a failure."""
        if error.rcvd is not None and error.rcvd.code == SERVICE_RESTART:
            self.observed.counts[f"{client}, closed with 1012"] += 1
            return True
        self.observed.failed(client, error)
        return False

    async def _stopped_or(self, waiting: Awaitable[Any]) -> Any:
        """Wait; returns None if the load stops first."""
        task = asyncio.ensure_future(waiting)
        stop = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if task.done():
            return task.result()
        task.cancel()
        return None

    # The clients.

    async def _connect_repeatedly(self) -> None:
        while not self._stop.is_set():
            try:
                async with self._open(ECHO) as ws:
                    await ws.send("hello")
                    await asyncio.wait_for(ws.recv(), PATIENCE_S)
                self.observed.counts["connections"] += 1
            except ConnectionClosed as error:
                self._was_restart("connection", error)
            except Exception as error:
                self.observed.failed("connection", error)

    async def _hold(self, ready: asyncio.Event) -> None:
        await self._again(ECHO, "held", ready, self._wait)

    async def _wait(self, ws: ClientConnection) -> None:
        try:
            await self._stopped_or(ws.recv())
        except ConnectionClosed:
            self.observed.closed_at.append(time.monotonic())
            raise

    async def _again(
        self,
        path: str,
        client: str,
        ready: asyncio.Event,
        use: Callable[[ClientConnection], Awaitable[None]],
    ) -> None:
        """Keep a WebSocket open, also beyond restarts."""
        while not self._stop.is_set():
            try:
                async with self._open(path) as ws:
                    ready.set()
                    await use(ws)
                return
            except ConnectionClosed as error:
                if not self._was_restart(client, error):
                    return
            except Exception as error:
                self.observed.failed(client, error)
                return
            finally:
                ready.set()

    async def _subscribe(self, number: int, ready: asyncio.Event) -> None:
        seen = self.observed.seen[number]

        async def receive(ws: ClientConnection) -> None:
            while (message := await self._stopped_or(ws.recv())) is not None:
                data = json.loads(message)
                seen.update(each["id"] for each in data.get("buffer", [data]) if "id" in each)

        await self._again(CHAT, "subscriber", ready, receive)

    async def _say(self) -> None:
        """Send messages; one that the room has not echoed is sent again on the next connection."""
        numbers = itertools.count()
        pending: dict[str, str] = {}

        async def talk(ws: ClientConnection) -> None:
            for text in pending.values():
                await ws.send(text)
            while not self._is_silent or pending:
                if not self._is_silent:
                    key = str(next(numbers))
                    pending[key] = json.dumps({"message": key, "id": key})
                    await ws.send(pending[key])
                until = time.monotonic() + SAY_EVERY_S
                while (left := until - time.monotonic()) > 0:
                    try:
                        received = json.loads(await asyncio.wait_for(ws.recv(), left))
                    except TimeoutError:
                        break
                    for each in received.get("buffer", [received]):
                        if pending.pop(each.get("id", ""), None) is not None:
                            self.observed.said.append(each["id"])

        await self._again(CHAT, "publisher", asyncio.Event(), talk)

    async def _request_repeatedly(self) -> None:
        while not self._stop.is_set():
            try:
                await self._requests_on_one_connection()
            except Exception as error:
                self.observed.failed("request", error)

    async def _requests_on_one_connection(self) -> None:
        address = f"127.0.0.{next(self._addresses)}", 0
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=address)
        try:
            while not self._stop.is_set():
                writer.write(b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % VIEW.encode())
                head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)).lower()
                if not head.startswith(b"http/1.1 200 "):
                    raise ValueError(head.splitlines()[0].decode())
                if b"\r\ntransfer-encoding: chunked" in head:
                    while (size := int(await reader.readline(), 16)) > 0:
                        await reader.readexactly(size + 2)
                    await reader.readline()
                else:
                    _, _, rest = head.partition(b"\r\ncontent-length:")
                    await reader.readexactly(int(rest.split(b"\r\n", 1)[0]))
                self.observed.counts["requests"] += 1
                if b"\r\nconnection: close" in head:
                    self.observed.counts["requests that ended their connection"] += 1
                    return
        finally:
            writer.close()

    async def _request_with(self, wrk: str) -> None:
        process = await asyncio.create_subprocess_exec(
            wrk, *WRK, f"http://127.0.0.1:{self._port}{VIEW}", stdout=asyncio.subprocess.PIPE
        )
        try:
            await self._stop.wait()
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        found = re.search(r"(\d+) requests in", output.decode())
        self.observed.counts["requests of wrk"] = int(found[1]) if found else 0
        # wrk prints these lines only if there is something to report.
        for line in re.findall(r"(?:Socket errors|Non-2xx or 3xx responses): .*", output.decode()):
            self.observed.failed("wrk", line)
        if not self.observed.counts["requests of wrk"]:
            self.observed.failed("wrk", "no request succeeded")
