"""A feed with history in a drill: a publisher, and subscribers that reconnect with their position.

The publisher is the form of `/live/`: an ordinary view. A message whose answer is lost with a
process may have been published or not; the publisher goes to the next one.
"""

import asyncio
import http.client
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from time import monotonic
from urllib.parse import quote, urlencode, urlsplit

from workers.drill.ledger import DoubleFaults, Ledger, Positions, unprotected
from workers.drill.socket import Lost
from workers.drill.websocket import in_turn, reconnect

TOPIC = "live"
PATH = "live/events/"
ANSWER_SECONDS = 3.0  # for the answer of a view
RETRY_SECONDS = 0.2


class Subscriber:
    """A client of the feed over WebSocket."""

    def __init__(
        self, urls: Sequence[str], number: int, with_position: bool, positions: Positions
    ) -> None:
        self.ledger = Ledger(f"feed client {number}")
        self.connections = 0
        self.subscribed = asyncio.Event()
        self._urls = in_turn(urls, number // 2)  # both kinds of clients at each server
        self._with_position = with_position
        self._positions = positions
        self._position = ""

    async def run(self) -> None:
        """Receive until the task is cancelled."""
        while True:
            socket = await reconnect(self._urls, self._rest, "c10k.v1")
            self.connections += 1
            try:
                while True:
                    self._received(json.loads(await socket.receive()))
            except Lost:
                continue
            finally:
                socket.abort()

    @property
    def _rest(self) -> str:
        """What follows the server's URL."""
        if not self._position or not self._with_position:
            return PATH
        return f"{PATH}?since={quote(f'{TOPIC}={self._position}', safe='')}"

    def _received(self, said: dict[str, str]) -> None:
        self._position = said.get("id", self._position)
        if "recovered" in said:
            # Without its position the client asks for no recovery, and is not told of a loss.
            if not said["recovered"] and self.subscribed.is_set() and self._with_position:
                self.ledger.announced()
            self.subscribed.set()
        elif "message" in said:
            number = int(said["message"])
            self.ledger.received(number, self._position)
            self._positions.received(self._position, number)


class SseSubscriber(Subscriber):
    """A client of the feed over server-sent events."""

    async def run(self) -> None:
        while True:
            with suppress(OSError, ValueError, asyncio.IncompleteReadError, TimeoutError):
                await self._stream()
            await asyncio.sleep(RETRY_SECONDS)

    async def _stream(self) -> None:
        address = urlsplit((next(self._urls) + self._rest).replace("ws", "http", 1))
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        path = f"{address.path}?{address.query}" if address.query else address.path
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n"
            "Accept: text/event-stream\r\n\r\n".encode()
        )
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ANSWER_SECONDS)
            if b" 200 " not in head.split(b"\r\n")[0]:
                return
            self.connections += 1
            async for line in _lines(reader, b"chunked" in head.lower()):
                if line.startswith("data: "):
                    said = json.loads(line[6:])
                    if "code" in said:
                        return
                    self._received(said)
        finally:
            writer.close()


async def _lines(reader: asyncio.StreamReader, chunked: bool) -> AsyncIterator[str]:
    """The lines of a body, which may come in chunks (RFC 9112, section 7.1)."""
    rest = ""
    while True:
        if chunked:
            size = int(await reader.readline() or b"0", 16)
            data = await reader.readexactly(size + 2)
            data = data[:-2]
        else:
            data = await reader.read(65536)
        if not data:
            return
        *lines, rest = (rest + data.decode()).split("\n")
        for line in lines:
            yield line


class Feed:
    """Call `start`, then `stop`; `violations` has the result.

    urls: of the servers, among which the clients divide.
    double_faults: returns the times in which both the broker and a node were killed: (from, until).
    """

    def __init__(
        self,
        urls: Sequence[str],
        clients: int,
        rate: float,
        double_faults: DoubleFaults,
        with_position: bool = True,
    ) -> None:
        self.positions = Positions()
        ws_urls = [url.replace("http", "ws", 1) for url in urls]
        self.subscribers = [
            (SseSubscriber if number % 2 else Subscriber)(
                ws_urls, number, with_position, self.positions
            )
            for number in range(clients)
        ]
        self.confirmed: dict[int, float] = {}  # number -> when it was confirmed
        self.sent = 0
        self.unprotected = 0
        self.violations: list[str] = []
        self._double_faults = double_faults
        self._urls = in_turn(urls, 0)
        self._pause = 1 / rate
        self._tasks: list[asyncio.Task[None]] = []
        self._publishing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Wait until all clients are subscribed, then publish."""
        self._tasks = [asyncio.create_task(one.run()) for one in self.subscribers]
        for subscriber in self.subscribers:
            await subscriber.subscribed.wait()
        self._publishing = asyncio.create_task(self._publish())

    async def _publish(self) -> None:
        while True:
            await asyncio.sleep(self._pause)
            await self.publish_one()

    async def publish_one(self) -> bool:
        """Publish the next message; returns whether it was confirmed."""
        self.sent += 1
        number = self.sent
        if await asyncio.to_thread(_post, next(self._urls), str(number)):
            self.confirmed[number] = monotonic()
            return True
        return False

    async def stop(self, patience: float) -> None:
        """Publish the last message, wait for it, and check. patience: seconds for both."""
        if self._publishing is not None:
            self._publishing.cancel()
        try:
            async with asyncio.timeout(patience):
                while not await self.publish_one():
                    await asyncio.sleep(RETRY_SECONDS)
                last = max(self.confirmed)
                while not all(one.ledger.knows(last) for one in self.subscribers):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pass  # the ledgers say what is missing
        self.cancel()
        ledgers = [one.ledger for one in self.subscribers]
        lost = unprotected(self.confirmed, ledgers, self._double_faults())
        self.unprotected = len(lost)
        self.violations += self.positions.violations
        for ledger in ledgers:
            self.violations += ledger.violations(self.confirmed.keys() - lost)

    @property
    def is_violated(self) -> bool:
        """Whether a rule is violated already, before the end."""
        return bool(self.positions.violations) or any(one.ledger.twice for one in self.subscribers)

    def cancel(self) -> None:
        """End all clients."""
        for task in (*self._tasks, *((self._publishing,) if self._publishing else ())):
            task.cancel()

    @property
    def values(self) -> dict[str, int]:
        """The counts for the summary."""
        return {
            "clients": len(self.subscribers),
            "confirmed": len(self.confirmed),
            "positions": self.positions.count,
            "received": sum(one.ledger.count for one in self.subscribers),
            "reconnected": sum(one.connections - 1 for one in self.subscribers),
            "losses_announced": sum(one.ledger.gaps for one in self.subscribers),
            "lost_in_double_faults": self.unprotected,
        }


def _post(url: str, message: str) -> bool:
    """Publish with the form of /live/; returns whether the view has answered with a receipt."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        str(parts.hostname), int(parts.port or 80), timeout=ANSWER_SECONDS
    )
    try:
        connection.request("GET", "/live/")
        page = connection.getresponse()
        token = re.search(rb'csrfmiddlewaretoken" value="(\w+)"', page.read())
        cookie = (page.getheader("Set-Cookie") or "").split(";")[0]
        if token is None:
            return False
        form = urlencode({"message": message, "csrfmiddlewaretoken": token[1].decode()})
        connection.request(
            "POST",
            "/live/",
            form,
            {
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
                "Cookie": cookie,
            },
        )
        answer = connection.getresponse()
        return answer.status == 200 and "nodes" in json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
