"""Clients that take sockets: more than there are descriptors, or without ever sending a request."""

import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.e2e.asking import get, get_until, ready, total_until
from tests.e2e.processes import (
    PATIENCE_S,
    ROOT,
    TEST_TIMEOUT_S,
    Cluster,
    environment,
    no_orphans,
    reactor,
    start_cluster,
    start_program,
    twistd,
)
from tests.e2e.test_tls import exchange, make_certificate
from tests.e2e.wsclient import connect
from tests.once import once

DESCRIPTORS = 250
"""The limit of the cluster's processes."""

MANY = 200

POST = b"POST /nothing/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"


@once
class SocketsTestCase(TestCase):
    timeout = TEST_TIMEOUT_S

    async def start(self, settings: dict[str, int], *options: str) -> Any:
        """Start a cluster of one node of the demo site with other settings."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        (folder / "socket_settings.py").write_text(
            f"from django_project.settings import *\nC10K = {settings}\n"
        )
        path = os.pathsep.join(map(str, (ROOT, ROOT / "twistd_plugins", folder)))
        return await start_cluster(
            self, "--nodes", "1", "--settings", "socket_settings", *options,
            extra={"PYTHONPATH": path},
        )  # fmt: skip

    async def start_secure(self, settings: dict[str, int]) -> tuple[Any, int, Path]:
        """Start one that also listens with TLS; returns it, that port and the certificate."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        key, certificate = make_certificate(folder)
        address = f"ssl:0:privateKey={key}:certKey={certificate}:interface=127.0.0.1"
        cluster = await self.start(settings, "--listen", address)
        (port,) = set(re.findall(r"https://127\.0\.0\.1:(\d+)/", cluster.text))
        return cluster, int(port), certificate

    def take(self, port: int, count: int) -> list[socket.socket]:
        """Open connections that send nothing."""
        sockets = []
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
            self.addCleanup(sock.close)
            sockets.append(sock)
        return sockets


@once
class DescriptorTests(SocketsTestCase):
    async def test_a_node_keeps_a_reserve_and_reports_it(self) -> None:
        self.state = str(Path(self.mktemp()).absolute())

        def limit(cluster: Cluster) -> None:
            resource.prlimit(cluster.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))

        cluster = await start_cluster(
            self, "--nodes", "1", extra={"C10K_STATE_DIR": self.state}, on_spawn=limit
        )
        await ready(cluster.admin_url)
        # Clients that were accepted stay connected.
        client = await connect(reactor, f"ws://127.0.0.1:{cluster.port}/echo/")
        sockets = await deferToThread(self.take, cluster.port, MANY)
        body = await get_until(cluster.admin_url + "readyz", 503)
        self.assertIn("node0 is short of file descriptors", body)
        await total_until(cluster, 1, "c10k_connections")
        answers = await deferToThread(self.answers, sockets)
        self.assertIn(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: ", answers)
        status, metrics = await get(cluster.admin_url + "metrics")
        self.assertEqual(status, 200)
        self.assertIn(f'c10k_descriptor_limit{{node="node0"}} {float(DESCRIPTORS)}', metrics)
        self.assertRegex(metrics, r'c10k_limited_total\{limit="descriptors",node="node0"\} [1-9]')
        client.send("still here")
        self.assertEqual(await client.next_message(), "still here")
        output = await deferToThread(self.publish, cluster)
        self.assertEqual("No subscribers\n", output)
        for sock in sockets:
            sock.close()
        await ready(cluster.admin_url)
        self.assertEqual((await get(cluster.base_url + "demos/"))[0], 200)
        self.assertNotIn("Traceback", cluster.text)
        client.abort()
        await client.closed

    async def test_clients_are_answered_even_without_any_descriptor(self) -> None:
        """The kernel refuses to open a socket: accept(2) fails with EMFILE."""
        cluster = await start_cluster(self, "--nodes", "1")
        pid = cluster.pids["node0"]
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = max(map(int, os.listdir(f"/proc/{pid}/fd"))) + 1
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, limits[1]))
        sockets = await deferToThread(self.take, cluster.port, MANY)
        answer = await deferToThread(self.received, sockets[-1])
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        self.assertEqual((await get(cluster.base_url + "demos/"))[0], 200)
        self.assertNotIn("Traceback", cluster.text)

    def received(self, sock: socket.socket) -> bytes:
        sock.settimeout(PATIENCE_S)
        return sock.recv(65536)

    def answers(self, sockets: list[socket.socket]) -> bytes:
        """What the refused clients received."""
        answers = b""
        for sock in sockets:
            sock.settimeout(0)
            with contextlib.suppress(BlockingIOError):  # accepted
                answers += sock.recv(65536)
        return answers

    def publish(self, cluster: Cluster) -> str:
        command = [sys.executable, "-m", "django_project", "publish", "topic", "hello"]
        extra = {"C10K_STATE_DIR": self.state, "XDG_RUNTIME_DIR": str(cluster.runtime)}
        environ = environment(cluster.mark, **extra)
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
        self.assertEqual(0, done.returncode, done.stderr)
        return done.stdout


@once
class FullTests(SocketsTestCase):
    async def test_refused_clients_of_both_kinds_of_address_are_answered(self) -> None:
        cluster, secure, certificate = await self.start_secure({"MAX_CONNECTIONS": 1})
        client = await connect(reactor, f"ws://127.0.0.1:{cluster.port}/echo/")
        body = await get_until(cluster.admin_url + "readyz", 503)
        self.assertIn("node0 has reached its maximum of connections (1)", body)
        request = f"GET / HTTP/1.1\r\nHost: localhost:{secure}\r\n\r\n"
        answer = await deferToThread(exchange, secure, certificate, request, b"", b"later.\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
        status, _ = await get(cluster.base_url)
        self.assertEqual(status, 503)
        client.abort()
        await client.closed
        await ready(cluster.admin_url)
        self.assertEqual((await get(cluster.base_url + "demos/"))[0], 200)


@once
class BodiesTests(SocketsTestCase):
    async def test_large_bodies_leave_room_for_forms(self) -> None:
        cluster = await self.start({"MAX_REQUEST_BODIES": 4 << 20, "MAX_REQUEST_BODY": 1 << 20})
        sockets = await deferToThread(self.send_bodies, cluster.port, 20)
        await total_until(cluster, 17, "c10k_limited_total", limit="request_bodies")
        _, metrics = await get(cluster.admin_url + "metrics")
        (held,) = re.findall(r'c10k_request_bodies_bytes\{node="node0"\} (\S+)', metrics)
        self.assertLessEqual(float(held), 3 << 20)
        self.assertIn('c10k_request_body_files{node="node0"} 3.0', metrics)
        form = await deferToThread(self.send_form, cluster.port)
        self.assertTrue(form.startswith(b"HTTP/1.1 404 "), form)
        for sock in sockets:
            sock.close()
        await total_until(cluster, 0, "c10k_request_bodies_bytes")
        self.assertNotIn("Traceback", cluster.text)

    def send_bodies(self, port: int, count: int) -> list[socket.socket]:
        """Send all but the last byte of bodies of 1 MB, one after the other."""
        size = 1_000_000
        sockets = self.take(port, count)
        for sock in sockets:
            with contextlib.suppress(ConnectionError):
                sock.sendall(POST % size)
                sock.sendall(b"x" * (size - 1))
        return sockets

    def send_form(self, port: int) -> bytes:
        (sock,) = self.take(port, 1)
        sock.sendall(POST % 3 + b"a=b")
        return sock.recv(100)


@once
class UnixTests(TestCase):
    timeout = TEST_TIMEOUT_S

    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="c10k-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = f"{self.folder}/http.sock"

    def spawn(self) -> Cluster:
        cluster = Cluster()
        command = twistd(
            "-n", "--pidfile=", "c10k", "--nodes", "2",
            "--listen", f"unix:{self.path}", "--admin", "tcp:0",
        )  # fmt: skip
        start_program(self, cluster, command, cluster.mark)
        return cluster

    async def start(self) -> Cluster:
        cluster = self.spawn()
        await cluster.line(f"c10k ready: unix:{self.path} ")
        return cluster

    async def test_two_nodes_behind_one_socket(self) -> None:
        cluster = await self.start()
        second = self.spawn()
        await second.end()
        self.assertEqual(second.status, 1)
        self.assertIn(
            f"cannot listen on unix:{self.path}: another cluster uses this path", second.lines[-1]
        )
        # Both nodes serve: kill one, and then the other one.
        for node in ("node0", "node1"):
            os.kill(cluster.pids[node], signal.SIGKILL)
            for _ in range(10):
                answer = await deferToThread(self.ask)
                self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer)
            await cluster.line(f"{node} ready")
        cluster.kill(signal.SIGKILL)
        await cluster.end()
        await no_orphans(self, cluster.mark)
        self.assertTrue(os.path.exists(self.path), "no stale file to test with")
        third = await self.start()
        self.assertTrue((await deferToThread(self.ask)).startswith(b"HTTP/1.1 200 OK\r\n"))
        third.kill(signal.SIGTERM)
        await third.end()
        self.assertFalse(os.path.exists(self.path))

    def ask(self) -> bytes:
        answer = b""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE_S)
            sock.connect(self.path)
            sock.sendall(b"GET /demos/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            while data := sock.recv(65536):
                answer += data
        return answer


@once
class SilentTests(SocketsTestCase):
    async def test_connections_without_a_request_are_closed(self) -> None:
        cluster, secure, _ = await self.start_secure({"HANDSHAKE_TIMEOUT": 2})
        plain = await deferToThread(self.take, cluster.port, MANY // 2)
        handshakes = await deferToThread(self.take, secure, MANY // 2)
        for sock in handshakes:
            sock.sendall(b"\x16\x03\x01")  # the beginning of a ClientHello
        self.assertEqual((await get(cluster.base_url + "demos/"))[0], 200)
        await deferToThread(self.wait_for_the_end, plain + handshakes)
        await total_until(cluster, 0, "c10k_sockets")

    def wait_for_the_end(self, sockets: list[socket.socket]) -> None:
        for sock in sockets:
            sock.settimeout(PATIENCE_S)
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(sock.recv(100), b"")
