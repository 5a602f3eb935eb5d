"""deploy/machines/haproxy.cfg under the real HAProxy, with TLS, in front of two clusters."""

import http.client
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from cluster.net.addresses import parse_address
from cluster.net.listening_sockets import claim
from tests.e2e.asking import ready, total_until, until
from tests.e2e.processes import (
    PATIENCE_S,
    ROOT,
    TEST_TIMEOUT_S,
    Cluster,
    Program,
    start_cluster,
    start_program,
)
from tests.e2e.test_tls import make_certificate
from tests.once import once

try:
    from websockets.sync.client import ClientConnection, connect
except ImportError:
    connect: Any = None  # type: ignore[no-redef]

PROXY = "127.0.0.7"
"""HAProxy's address, which no outgoing connection uses, so its ports stay free."""

REQUESTS = 20


@once
class HAProxyTests(TestCase):
    timeout = TEST_TIMEOUT_S

    def setUp(self) -> None:
        program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
        if program is None:
            raise SkipTest("haproxy is not installed (apt-get install haproxy)")
        if connect is None:
            raise SkipTest("needs the package websockets")
        self.program = program
        self.folder = Path(tempfile.mkdtemp(prefix="c10k-"))
        self.addCleanup(shutil.rmtree, self.folder)
        key, self.certificate = make_certificate(self.folder)
        self.both = self.folder / "both.pem"
        self.both.write_text(self.certificate.read_text() + key.read_text())
        self.state = str(Path(self.mktemp()).absolute())

    def free_port(self) -> int:
        sock = claim(parse_address(f"tcp:0:interface={PROXY}"))
        port: int = sock.getsockname()[1]
        sock.close()
        return port

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
            (r"10\.0\.0\.1:8000", f"127.0.0.1:{a.port} port {admin[0]}"),
            (r"10\.0\.0\.2:8000", f"127.0.0.1:{b.port} port {admin[1]}"),
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
        a.kill(signal.SIGTERM)
        await a.end()
        await deferToThread(self.use_without_a, clients)

    def listens(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex((PROXY, self.port)) == 0

    # In a thread, because the clients block.

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    def get(self, path: str) -> int:
        connection = http.client.HTTPSConnection("localhost", self.port)
        plain = socket.create_connection((PROXY, self.port), PATIENCE_S)
        connection.sock = self.trusting().wrap_socket(plain, server_hostname="localhost")
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status

    def websocket(self) -> "ClientConnection":
        client = connect(
            f"wss://localhost:{self.port}/echo/",
            sock=socket.create_connection((PROXY, self.port), PATIENCE_S),
            ssl=self.trusting(),
            origin=f"https://localhost:{self.port}",
            open_timeout=PATIENCE_S,
            close_timeout=PATIENCE_S,
            proxy=None,
        )
        self.addCleanup(client.close)
        self.assertEqual(self.echo(client), "hello")
        return client

    def echo(self, client: "ClientConnection") -> str | bytes:
        client.send("hello")
        return client.recv(PATIENCE_S)

    def use(self) -> "list[ClientConnection]":
        plain = http.client.HTTPConnection(PROXY, self.plain, timeout=PATIENCE_S)
        plain.request("GET", "/demos/", headers={"Host": "localhost"})
        response = plain.getresponse()
        self.assertEqual(response.status, 302)
        self.assertEqual(response.headers["Location"], "https://localhost/demos/")
        plain.close()
        self.assertEqual({self.get("/demos/") for _ in range(REQUESTS)}, {200})
        return [self.websocket() for _ in range(4)]

    def use_without_a(self, clients: "list[ClientConnection]") -> None:
        """Requests and WebSockets find the machine that is left, at once."""
        self.assertEqual({self.get("/demos/") for _ in range(REQUESTS)}, {200})
        self.websocket()
        answers = []
        for client in clients:
            try:
                answers.append(self.echo(client))
            except Exception as error:
                answers.append(type(error).__name__)
        self.assertEqual(answers.count("hello"), 2, answers)
