"""Mixed load on a cluster: echo, broadcast, views, and clients that do not read.

All clients reconnect when their connections are lost, as they are during a restart.
"""

import asyncio
import base64
import http.client
import os
import socket
from collections import Counter
from urllib.parse import urlsplit

from workers.drill.socket import Lost, Socket
from workers.drill.websocket import in_turn, reconnect

REQUEST_SECONDS = 10.0  # for the answer of a view
STALLED_BYTES = 4096  # the receive buffer of a client that does not read
STALL_SECONDS = 60.0  # for which such a client stays, if the server does not disconnect it
PAUSE = 0.2  # seconds between two messages of a client


class Load:
    """Call `start`, then `cancel`. counts: what has happened. violations: wrong answers."""

    def __init__(self, url: str, clients: int) -> None:
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self._url = url
        self._ws_url = url.replace("http", "ws", 1)
        self._clients = clients
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start all clients."""
        courses = [self._publish()]
        for number in range(self._clients):
            courses += [self._echo(number), self._subscribe()]
        courses += [self._request() for _ in range(max(1, self._clients // 8))]
        courses += [self._stall() for _ in range(max(1, self._clients // 8))]
        self._tasks = [asyncio.create_task(course) for course in courses]

    def cancel(self) -> None:
        """End all clients."""
        for task in self._tasks:
            task.cancel()

    async def _echo(self, number: int) -> None:
        sent = 0
        while True:
            echo = await self._connect("echo/")
            try:
                while True:
                    sent += 1
                    message = f"{number} {sent} " + "x" * (sent % 2000)
                    echo.send(message)
                    answer = await echo.receive()
                    self.counts["echoes"] += 1
                    if answer != message:
                        self.violations.append(f"echo: {answer[:40]!r} is not {message[:40]!r}")
                        return
                    await asyncio.sleep(PAUSE)
            except Lost:
                self.counts["lost"] += 1
            finally:
                echo.abort()

    async def _publish(self) -> None:
        while True:
            publisher = await self._connect("broadcast/soak/?role=publisher")
            try:
                while not publisher.ended:
                    publisher.send("x" * 200)
                    self.counts["published"] += 1
                    await asyncio.sleep(PAUSE / 4)
            finally:
                publisher.abort()

    async def _subscribe(self) -> None:
        while True:
            subscriber = await self._connect("broadcast/soak/")
            try:
                while True:
                    await subscriber.receive()
                    self.counts["delivered"] += 1
            except Lost:
                self.counts["lost"] += 1
            finally:
                subscriber.abort()

    async def _request(self) -> None:
        while True:
            status = await asyncio.to_thread(_get, self._url, "/test/wsgi/")
            self.counts[f"views {status}" if status else "views lost"] += 1
            await asyncio.sleep(PAUSE)

    async def _stall(self) -> None:
        """Subscribe to the busy topic and do not read."""
        parts = urlsplit(self._url)
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET /broadcast/soak/ HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )
        loop = asyncio.get_running_loop()
        while True:
            with socket.socket() as stalled:
                stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STALLED_BYTES)
                stalled.setblocking(False)
                try:
                    await loop.sock_connect(stalled, (parts.hostname, parts.port))
                    await loop.sock_sendall(stalled, request.encode())
                    self.counts["stalled"] += 1
                    await asyncio.sleep(STALL_SECONDS)
                except OSError:
                    await asyncio.sleep(PAUSE)

    async def _connect(self, path: str) -> Socket:
        return await reconnect(in_turn([self._ws_url], 0), path)


def _get(url: str, path: str) -> int:
    """Request a page; returns the status, 0 if there was no answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        str(parts.hostname), int(parts.port or 80), timeout=REQUEST_SECONDS
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
