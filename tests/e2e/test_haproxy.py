"""deploy/machines/haproxy.cfg under the real HAProxy, with TLS, in front of two clusters."""

import contextlib
import http.client
import re
import signal
import socket
import ssl
import subprocess
import uuid
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from tests.e2e.asking import ready, statistics_until, total_until, until
from tests.e2e.processes import (
    PATIENCE_S,
    ROOT,
    Cluster,
    Program,
    start_cluster,
    start_program,
)
from tests.e2e.proxy_case import ProxyTestCase
from tests.e2e.socketio_polling import converse
from tests.once import once

PROXY = "127.0.0.7"
"""HAProxy's address."""

REQUESTS = 20

ADDRESSES = 8
SESSIONS = "c10k_socketio_sessions_total"

HANDSHAKE = (
    b"GET /echo/ HTTP/1.1\r\nHost: localhost:%d\r\nOrigin: https://localhost:%d\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
MASKED, UNMASKED = b"\x81\x85\0\0\0\0hello", b"\x81\x05hello"
"""A text frame from a client, with a mask of zeros, and from a server."""


@once
class HAProxyTests(ProxyTestCase):
    name = "haproxy"
    address = PROXY

    def setUp(self) -> None:
        super().setUp()
        self.both = self.folder / "both.pem"
        self.both.write_text(self.certificate.read_text() + self.key.read_text())
        self.state = str(Path(self.mktemp()).absolute())

    async def machine(self) -> Any:
        options = ("--nodes", "1", "--proxy-headers", "127.0.0.1", "--drain-timeout", "1")
        return await start_cluster(self, *options, extra={"C10K_STATE_DIR": self.state})

    def configure(self, a: Cluster, b: Cluster) -> Path:
        """Write the file with other addresses and ports, and with patience for a busy machine."""
        text = (ROOT / "deploy" / "machines" / "haproxy.cfg").read_text()
        self.port, self.plain = self.free_port(), self.free_port()
        admin = [int(one.admin_url.rpartition(":")[2].strip("/")) for one in (a, b)]
        for pattern, ours in (
            (r"bind :80\b", f"bind {PROXY}:{self.plain}"),
            (r"bind :443 ssl crt \S+", f"bind {PROXY}:{self.port} ssl crt {self.both}"),
            (r"check port 9000", "check"),
            (r"timeout http-request 10s", f"timeout http-request {PATIENCE_S:.0f}s"),
            (r"10\.0\.0\.1:8000\n", f"127.0.0.1:{a.port} port {admin[0]}\n"),
            (r"10\.0\.0\.2:8000\n", f"127.0.0.1:{b.port} port {admin[1]}\n"),
            (r"10\.0\.0\.1:8000 track", f"127.0.0.1:{a.port} track"),
            (r"10\.0\.0\.2:8000 track", f"127.0.0.1:{b.port} track"),
        ):
            text, count = re.subn(pattern, ours, text)
            self.assertEqual(count, 1, pattern)
        path = self.folder / "haproxy.cfg"
        path.write_text(text)
        return path

    async def test_two_machines_behind_haproxy(self) -> None:
        a, b = await self.machine(), await self.machine()
        for one in (a, b):
            await ready(one.admin_url)
        command = [self.program, "-db", "-f", str(self.configure(a, b))]
        checked = subprocess.run([*command, "-c"], capture_output=True, text=True)
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.assertNotIn("[WARNING]", checked.stderr)
        haproxy = Program()
        start_program(self, haproxy, command, uuid.uuid4().hex, cwd=str(self.folder))
        await until(self.listens, lambda: haproxy.text)
        clients = await deferToThread(self.use)
        for one in (a, b):  # each machine has half of the WebSockets
            await total_until(one, 2, "c10k_connections")
        await deferToThread(self.poll)
        for one in (a, b):  # each machine has some of the addresses
            await statistics_until(one, lambda found: sum(found.values()) > 0, SESSIONS)
        a.kill(signal.SIGTERM)
        await a.end()
        await deferToThread(self.use_without_a, clients)
        await deferToThread(self.poll)

    def listens(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex((PROXY, self.port)) == 0

    # In a thread, because the clients block.

    def reach(self, address: str = "") -> ssl.SSLSocket:
        plain = socket.create_connection((PROXY, self.port), PATIENCE_S, (address, 0))
        return self.trusting().wrap_socket(plain, server_hostname="localhost")

    def get(self, path: str) -> int:
        connection = http.client.HTTPSConnection("localhost", self.port)
        connection.sock = self.reach()
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status

    def poll(self) -> None:
        """Socket.IO sessions over long polling, of clients with different addresses."""
        for number in range(1, ADDRESSES + 1):

            def connect(address: str = f"127.0.1.{number}") -> http.client.HTTPSConnection:
                connection = http.client.HTTPSConnection("localhost", self.port)
                connection.sock = self.reach(address)
                return connection

            converse(connect)

    def websocket(self) -> ssl.SSLSocket:
        """Open a WebSocket, with a single thread: before Python 3.13 an SSLSocket must not be read
        and written by two at the same time."""
        sock = self.reach()
        self.addCleanup(sock.close)
        sock.sendall(HANDSHAKE % (self.port, self.port))
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += sock.recv(1)
        self.assertTrue(answer.startswith(b"HTTP/1.1 101 "), answer)
        self.assertTrue(self.echoes(sock))
        return sock

    def echoes(self, sock: ssl.SSLSocket) -> bool:
        """Whether a message is returned; not if the connection is lost."""
        answer = b""
        with contextlib.suppress(OSError):
            sock.sendall(MASKED)
            while len(answer) < len(UNMASKED) and (data := sock.recv(100)):
                answer += data
        return answer == UNMASKED

    def use(self) -> list[ssl.SSLSocket]:
        plain = http.client.HTTPConnection(PROXY, self.plain, timeout=PATIENCE_S)
        plain.request("GET", "/demos/", headers={"Host": "localhost"})
        response = plain.getresponse()
        self.assertEqual(response.status, 302)
        self.assertEqual(response.headers["Location"], "https://localhost/demos/")
        plain.close()
        self.assertEqual({self.get("/demos/") for _ in range(REQUESTS)}, {200})
        return [self.websocket() for _ in range(4)]

    def use_without_a(self, clients: list[ssl.SSLSocket]) -> None:
        """Requests and WebSockets find the machine that is left, at once."""
        self.assertEqual({self.get("/demos/") for _ in range(REQUESTS)}, {200})
        self.websocket()
        self.assertEqual(sum(map(self.echoes, clients)), 2)
