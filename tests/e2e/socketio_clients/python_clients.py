"""The checks for python-socketio's clients: `python python_clients.py URL`.

Runs each check with AsyncClient and with Client, by each transport. Prints one JSON object a line
for each check, as suite.mjs does; exits with 1 if a check failed.
"""

import asyncio
import inspect
import json
import queue
import sys
import traceback
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import socketio
from engineio.payload import Payload

Payload.max_decode_packets = 1000  # 16 without it: a client over polling fails at a burst

TRANSPORTS: dict[str, list[str]] = {
    "websocket": ["websocket"],
    "polling": ["polling"],
    "upgrade": ["polling", "websocket"],
}
PATIENCE_S = 90.0  # until an event that was expected counts as missing
BURST = 100

NESTED = {"file": b"\0\xff\n", "list": [1, {"deep": b"\1\2\3", "none": None}], "text": "café 🦆"}


class Client:
    """A client of either kind, whose methods are coroutines; ``next`` returns its events in order.

    Client's methods block, so they run in a thread.
    """

    def __init__(self, kind: str, url: str, transport: str, **options: Any) -> None:
        self._is_async = kind == "AsyncClient"
        self._url, self._transports = url, TRANSPORTS[transport]
        self.sio = getattr(socketio, kind)(reconnection_delay=0.1, **options)
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for namespace in ("/", "/admin"):
            self.sio.on("*", self._receive, namespace=namespace)
            for event in ("connect", "disconnect", "connect_error"):
                self.sio.on(event, self._receiver(event), namespace=namespace)
        self.sio.on("question", self._answer)

    def _receive(self, event: str, *data: Any) -> None:
        self._events.put([event, *data])

    def _receiver(self, event: str) -> Callable[..., None]:
        return lambda *data: self._events.put([event, *data])

    def _answer(self, *data: Any) -> Any:
        return (len(data), *data)

    async def run(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the client."""
        function = getattr(self.sio, method)
        if self._is_async:
            result = function(*arguments, **options)
            return await result if inspect.isawaitable(result) else result
        return await asyncio.to_thread(function, *arguments, **options)

    async def connect(self, auth: Any, namespaces: list[str] | None = None) -> None:
        await self.run(
            *("connect", self._url),
            transports=self._transports,
            auth=auth,
            namespaces=namespaces or ["/"],
            wait_timeout=PATIENCE_S,
        )

    async def call(self, event: str, *data: Any, namespace: str = "/") -> Any:
        return await self.run("call", event, data, namespace=namespace, timeout=PATIENCE_S)

    async def next(self, *events: str) -> list[Any]:
        """The next event with one of these names; others before it are left out."""
        while True:
            received: list[Any] = await asyncio.to_thread(self._events.get, timeout=PATIENCE_S)
            if received[0] in events:
                return received


Check = Callable[[Callable[..., Client]], Awaitable[None]]


def same(found: Any, expected: Any) -> None:
    if found != expected:
        raise AssertionError(f"found {found!r}, expected {expected!r}")


async def connect(client: Callable[..., Client]) -> None:
    one = client()
    await one.connect({"name": "anna"})
    _, welcome = await one.next("welcome")
    same(welcome["auth"], {"name": "anna"})
    same(welcome["sid"], await one.run("get_sid"))


async def acknowledgements(client: Callable[..., Client]) -> None:
    one = client()
    await one.connect({})
    for number in range(BURST):
        same(await one.call("echo", number), number)
    same(await one.call("echo", 1, "two"), (1, "two"))
    same(await one.call("echo", NESTED), NESTED)
    same(await one.call("ask", NESTED, "text"), [2, NESTED, "text"])


async def namespaces(client: Callable[..., Client]) -> None:
    one = client()
    await one.connect({"name": "bob", "token": "secret"}, ["/", "/admin"])
    same(await one.call("who", namespace="/admin"), "bob")
    same(await one.call("echo", 1), 1)


async def refused(client: Callable[..., Client]) -> None:
    one = client(reconnection=False)
    try:
        await one.connect({"refuse": True})
    except socketio.exceptions.ConnectionError:
        pass
    else:
        raise AssertionError("the client was not refused")
    _, error = await one.next("connect_error")
    same(error, {"message": "refused", "data": {"code": 42, "why": ["you asked"]}})


async def rooms(client: Callable[..., Client]) -> None:
    room = uuid.uuid4().hex
    clients = [client() for _ in range(6)]
    for each in clients:
        await each.connect({})
        same(room in await each.call("join", room), True)
    for number in range(BURST):
        await clients[0].run("emit", "say", (room, number))
    for each in clients[1:]:
        for number in range(BURST):
            same(await each.next("said"), ["said", number])


async def disconnect(client: Callable[..., Client]) -> None:
    watcher, name = client(), uuid.uuid4().hex
    await watcher.connect({})
    await watcher.call("join", f"watch {name}")
    one = client(reconnection=False)
    await one.connect({"name": name})
    await one.run("emit", "kick", False)
    same(await one.next("disconnect"), ["disconnect", "server disconnect"])
    same(await watcher.next("left"), ["left", name, "server namespace disconnect"])
    another = client()
    await another.connect({"name": name})
    await another.run("disconnect")
    _, left, reason = await watcher.next("left")
    same(left, name)
    same(reason in ("client namespace disconnect", "transport close"), True)


CHECKS: list[Check] = [connect, acknowledgements, namespaces, refused, rooms, disconnect]


async def run(check: Check, kind: str, url: str, transport: str) -> bool:
    """Run one check, and print its line."""
    opened: list[Client] = []

    def client(**options: Any) -> Client:
        opened.append(Client(kind, url, transport, **options))
        return opened[-1]

    line: dict[str, Any] = {"client": kind, "transport": transport, "check": check.__name__}
    error = None
    try:
        await check(client)
    except Exception:
        error = traceback.format_exc()
    for each in opened:
        await each.run("disconnect")
    print(json.dumps({**line, "ok": error is None, "error": error}), flush=True)
    return error is None


async def main(url: str) -> int:
    """Run all checks; returns the exit status."""
    results = [
        await run(check, kind, url, transport)
        for kind in ("AsyncClient", "Client")
        for transport in TRANSPORTS
        for check in CHECKS
    ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
