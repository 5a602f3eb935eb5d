"""Requests of Socket.IO sessions that arrive at any node of a cluster of four."""

import contextlib
import json
import os
import re
import signal
import ssl
import struct
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from cluster.net.handover.session_ids import SIZE
from tests.e2e.asking import statistics, total_until, until
from tests.e2e.processes import (
    PATIENCE_S,
    TEST_TIMEOUT_S,
    kill_if_there,
    process_end,
    start_cluster,
)
from tests.e2e.test_tls import make_certificate
from tests.once import once

NODES = 4

LARGE = 300_000
"""Bytes of a body that does not travel with a descriptor."""

_UPGRADE = (
    "GET {} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)


def path_of(token: str) -> str:
    """The path of a session of a process; without a session for an empty token."""
    sid = f"&sid={token.ljust(SIZE, 'x')}" if token else ""
    return f"/socket.io/?EIO=4&transport=polling{sid}"


class Client:
    """A blocking HTTP client on one connection."""

    def __init__(self, port: int, certificate: Path | None = None) -> None:
        self.is_secure = certificate is not None
        self.http = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        if certificate is not None:
            self.http = HTTPSConnection(
                "localhost",
                port,
                timeout=PATIENCE_S,
                context=ssl.create_default_context(cafile=str(certificate)),
            )

    def ask(self, token: str, body: Any = None) -> dict[str, Any]:
        """A request of a session of this process; a list is sent in chunks."""
        method = "GET" if body is None else "POST"
        self.http.request(
            method,
            path_of(token),
            body,
            {"Host": "localhost"},
            encode_chunked=isinstance(body, list),
        )
        response = self.http.getresponse()
        content = response.read()
        assert response.status == 200, (response.status, content)
        found: dict[str, Any] = json.loads(content)
        return found

    def request(self, method: str, url: str, body: bytes | None = None) -> tuple[int, bytes]:
        """A request; closes the connection after the response."""
        self.http.request(method, url, body, {"Host": "localhost"})
        response = self.http.getresponse()
        content = response.read()
        self.close()
        return response.status, content

    def upgrade(self, token: str) -> dict[str, Any]:
        """Open a WebSocket of a session of this process, and echo a message."""
        if self.http.sock is None:
            self.http.connect()
        self.http.sock.sendall(_UPGRADE.format(path_of(token)).encode())
        received = self._read_until(b"\r\n\r\n")
        assert received.startswith(b"HTTP/1.1 101 "), received
        found: dict[str, Any] = json.loads(self._frame())
        self.http.sock.sendall(struct.pack("!BBI", 0x81, 0x84, 0) + b"echo")
        assert self._frame() == b"echo"
        return found

    def _read_until(self, end: bytes) -> bytes:
        received = b""
        while not received.endswith(end):
            received += self._exactly(1)
        return received

    def _frame(self) -> bytes:
        return self._exactly(self._exactly(2)[1])

    def _exactly(self, size: int) -> bytes:
        received = b""
        while len(received) < size:
            piece = self.http.sock.recv(size - len(received))
            assert piece, "closed"
            received += piece
        return received

    def close(self) -> None:
        self.http.close()


@once
class HandoverTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def test_requests_reach_the_process_of_their_session(self) -> None:
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        key, certificate = make_certificate(folder)
        tls = f"ssl:0:privateKey={key}:certKey={certificate}:interface=127.0.0.1"
        self.cluster = await start_cluster(
            self, "--nodes", str(NODES), "--settings", "tests.e2e.handover_site", "--listen", tls
        )
        (secure,) = set(re.findall(r"https://127\.0\.0\.1:(\d+)/", self.cluster.text))
        port, self.secure_port, self.certificate = self.cluster.port, int(secure), certificate
        self.tokens = await deferToThread(self.find_tokens, port)

        await deferToThread(self.plain, port)  # also makes the threads of the nodes
        await deferToThread(self.over_tls)
        await total_until(self.cluster, 0, "c10k_sockets")
        before = self.descriptors()
        await deferToThread(self.plain, port)
        await deferToThread(self.over_tls)
        await total_until(self.cluster, 0, "c10k_sockets")
        await total_until(self.cluster, 0, "c10k_handover_tunnels")
        await until(lambda: self.descriptors() == before, lambda: str(self.descriptors()))
        handed_over = await statistics(self.cluster, "c10k_connections_handed_over_total")
        received = await statistics(self.cluster, "c10k_connections_received_total")
        failed = await statistics(self.cluster, "c10k_handovers_failed_total")
        self.assertEqual(sum(handed_over.values()), sum(received.values()))
        self.assertGreater(min(handed_over.values()), 0)
        self.assertEqual(sum(failed.values()), 0)

        await deferToThread(self.long_polling, port)
        await self.a_dead_process(port)
        self.assertNotIn("Traceback", self.cluster.text)

    def find_tokens(self, port: int) -> list[str]:
        tokens: set[str] = set()
        while len(tokens) < NODES:
            client = Client(port)
            tokens.add(client.ask("")["token"])
            client.close()
        return sorted(tokens)

    def plain(self, port: int) -> None:
        """New connections, one that sends requests of all sessions, and upgrades."""
        for token in self.tokens * NODES:
            client = Client(port)
            expected = {"token": token, "client": "127.0.0.1", "secure": False, "body": 0}
            self.assertEqual(client.ask(token), expected)
            client.close()
        client = Client(port)
        self.all_kinds_of(client)
        for token in self.tokens:
            client = Client(port)
            self.assertEqual(client.upgrade(token)["token"], token)
            client.close()

    def all_kinds_of(self, client: Client) -> None:
        for token in self.tokens * 2:
            expected = {"token": token, "client": "127.0.0.1", "secure": client.is_secure}
            for body, size in ((None, 0), (b"x" * 10_000, 10_000), ([b"x" * 9, b"yy"], 11)):
                self.assertEqual(client.ask(token, body), {**expected, "body": size})
        for token in self.tokens:
            self.assertEqual(client.ask(token, b"x" * LARGE)["body"], LARGE)
            self.assertEqual(client.ask(token)["token"], token)
        found = client.upgrade(self.tokens[0])
        expected = {"token": self.tokens[0], "client": "127.0.0.1", "secure": client.is_secure}
        self.assertEqual(found, {**expected, "body": 0})
        client.close()

    def over_tls(self) -> None:
        for _ in range(NODES):
            self.all_kinds_of(Client(self.secure_port, self.certificate))
        for token in self.tokens:
            client = Client(self.secure_port, self.certificate)
            self.assertEqual(client.upgrade(token)["token"], token)
            client.close()

    def long_polling(self, port: int) -> None:
        """A session of Engine.IO, each of whose requests comes on another connection."""
        url = "/engine.io/?EIO=4&transport=polling"
        status, opened = Client(port).request("GET", url)
        self.assertEqual((status, opened[:1]), (200, b"0"))
        url += f"&sid={json.loads(opened[1:])['sid']}"
        for number in range(4 * NODES):
            message = b"4number %d" % number
            self.assertEqual(Client(port).request("POST", url, message), (200, b"ok"))
            self.assertEqual(Client(port).request("GET", url), (200, message))

    def descriptors(self) -> dict[str, list[str]]:
        """The open files of the nodes by kind, such as "socket"."""
        return {
            name: sorted(self.kinds(pid))
            for name, pid in self.cluster.pids.items()
            if name.startswith("node")
        }

    def kinds(self, pid: int) -> list[str]:
        folder = Path(f"/proc/{pid}/fd")
        found = []
        for each in os.listdir(folder):
            with contextlib.suppress(OSError):
                found.append(os.readlink(folder / each).partition(":")[0])
        return found

    async def a_dead_process(self, port: int) -> None:
        """Its sessions are answered by the process at which a request arrives."""
        pid = self.cluster.pids["node2"]
        ended = process_end(pid)
        restarted = self.cluster.line(r"node2 ready")
        kill_if_there(pid, signal.SIGKILL)
        await ended
        await restarted
        answers = await deferToThread(self.answers, port)
        (dead,) = [token for token in self.tokens if answers[token] != token]
        self.assertNotIn(dead, answers.values())
        for token in self.tokens:
            self.assertEqual(answers[token] == token, token != dead)
        failed = await statistics(self.cluster, "c10k_handovers_failed_total", reason="owner_gone")
        self.assertGreater(sum(failed.values()), 0)
        files = list(self.cluster.runtime.rglob("handover-*.sock"))
        self.assertEqual(len(files), NODES)

    def answers(self, port: int) -> dict[str, str]:
        """The process that answers, for each of the sessions."""
        found = {}
        for token in self.tokens:
            client = Client(port)
            found[token] = client.ask(token)["token"]
            client.close()
        return found
