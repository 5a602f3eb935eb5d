"""deploy/nginx.conf under the real nginx, with TLS, in front of a cluster."""

import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import uuid
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest

from tests.e2e.asking import statistics_until
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

try:
    from websockets.exceptions import ConnectionClosedError, InvalidStatus
    from websockets.sync.client import ClientConnection, connect
except ImportError:
    connect: Any = None  # type: ignore[no-redef]

PROXY_TIMEOUT_S = 4
"""nginx's timeout in seconds: longer than a view on a busy machine, and than ten ping intervals."""

SILENCE_S = 2.5 * PROXY_TIMEOUT_S
"""Seconds for which the handler sends nothing."""

PROXY = "127.0.0.6"
"""nginx's address."""

LIMIT = 10
"""What one address may have at the same time, in place of the file's 100."""

CLIENT = "127.0.0.5"
"""The client's address, which differs from nginx's."""

ADDRESSES = 8
"""Clients of a Socket.IO server, with an address each."""

SETTINGS = """
SECRET_KEY = "for tests"
ALLOWED_HOSTS = ["localhost"]
ROOT_URLCONF = "nginx_urls"
INSTALLED_APPS = ["cluster.django"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
USE_TZ = True
"""

URLS = """
import asyncio
from django.http import HttpResponse
from django.urls import path
from cluster import feed, publish, websocket
from cluster.socketio import Namespace, SocketIO

def page(request):
    return HttpResponse(f"{request.META['REMOTE_ADDR']} {request.is_secure()}")

def tell(request):
    return HttpResponse(str(publish("live", "news").connections_here))

@websocket
async def idle(ws):
    await ws.send(ws.client)
    await asyncio.sleep(SILENCE)
    await ws.send("still here")

@feed
def live(request):
    return ["live"]

urlpatterns = [
    path("", page), path("tell/", tell), path("idle/", idle), path("live/", live),
    path("socket.io/", SocketIO(Namespace)),
]
"""


@once
class NginxTests(ProxyTestCase):
    name = "nginx"
    address = PROXY

    def setUp(self) -> None:
        if connect is None:
            raise SkipTest("needs the package websockets")
        super().setUp()
        (self.folder / "nginx_settings.py").write_text(SETTINGS)
        (self.folder / "nginx_urls.py").write_text(f"SILENCE = {SILENCE_S}\n{URLS}")

    def configure(self, *clusters: str) -> Path:
        """Write the file with other ports, names and paths, and a shorter timeout."""
        servers = "".join(f"    server {cluster};\n" for cluster in clusters)
        text = (ROOT / "deploy" / "nginx.conf").read_text()
        self.port, plain = self.free_port(), self.free_port()
        for pattern, ours in (
            (r"listen 80;", f"listen {PROXY}:{plain};"),
            (r"listen 443 ssl;", f"listen {PROXY}:{self.port} ssl;"),
            (r"server_name example\.com;", "server_name localhost;"),
            (r"/etc/ssl/example\.com/fullchain\.pem", str(self.certificate)),
            (r"/etc/ssl/example\.com/privkey\.pem", str(self.key)),
            (r"(?m)^    server 127\.0\.0\.1:8000;\n", servers),
            (r"timeout 60s;", f"timeout {PROXY_TIMEOUT_S}s;"),
            (r"limit_conn c10k_connections 100;", f"limit_conn c10k_connections {LIMIT};"),
        ):
            text, count = re.subn(pattern, lambda _, ours=ours: ours, text)
            self.assertGreater(count, 0, pattern)
        (self.folder / "site.conf").write_text(text)
        temporary = "\n".join(
            f"{kind}_temp_path {self.folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        main = self.folder / "nginx.conf"
        user = "user root;" if os.getuid() == 0 else ""
        main.write_text(
            f"{user} daemon off; worker_processes 1; pid {self.folder}/nginx.pid;"
            f" error_log stderr notice; events {{}}"
            f" http {{ access_log off; {temporary} include {self.folder}/site.conf; }}\n"
        )
        return main

    async def start(
        self, *options: str, listen: str = "", proxies: str = "127.0.0.1", machines: int = 1
    ) -> list[Cluster]:
        """Start clusters, and nginx in front of their first ports, or of ``listen``."""
        path = os.pathsep.join(map(str, (ROOT, ROOT / "twistd_plugins", self.folder)))
        options = (
            "--nodes",
            "1",
            "--settings",
            "nginx_settings",
            "--proxy-headers",
            proxies,
            *options,
        )
        if listen:
            options = (*options, "--listen", listen)
        clusters: list[Cluster] = [
            await start_cluster(self, *options, extra={"PYTHONPATH": path}) for _ in range(machines)
        ]
        main = self.configure(*(listen or f"127.0.0.1:{each.port}" for each in clusters))
        command = [self.program, "-p", str(self.folder), "-e", "stderr", "-c", str(main)]
        checked = subprocess.run(
            [*command, "-t"], capture_output=True, text=True, timeout=PATIENCE_S
        )
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.assertNotIn("[warn]", checked.stderr)
        nginx = Program()
        start_program(self, nginx, command, uuid.uuid4().hex, cwd=str(self.folder))
        self.addCleanup(self.stop, nginx)
        await nginx.line("start worker process ")
        return clusters

    async def stop(self, nginx: Program) -> None:
        nginx.kill(signal.SIGTERM)
        await nginx.end()

    # In a thread, because the client blocks.

    def reach(self, client: str = CLIENT) -> socket.socket:
        return socket.create_connection((PROXY, self.port), PATIENCE_S, (client, 0))

    def http(self, client: str = CLIENT) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection("localhost", self.port)
        plain = self.reach(client)
        connection.sock = self.trusting().wrap_socket(plain, server_hostname="localhost")
        return connection

    def get(self, path: str) -> str:
        connection = self.http()
        connection.request("GET", path, headers={"X-Forwarded-For": "192.0.2.1"})
        response = connection.getresponse()
        self.assertEqual(response.status, 200)
        self.assertNotIn("nginx/", response.headers["Server"])
        answer = response.read().decode()
        connection.close()
        return answer

    def websocket(self, origin: str | None = None) -> "ClientConnection":
        context = self.trusting()
        # The client reads in a thread of its own. With TLS 1.3 it would read session tickets while
        # it writes, which an SSLSocket of Python 3.12 and older does not allow.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        return connect(
            f"wss://localhost:{self.port}/idle/",
            sock=self.reach(),
            ssl=context,
            origin=origin or f"https://localhost:{self.port}",
            additional_headers={"X-Forwarded-For": "192.0.2.1"},
            open_timeout=PATIENCE_S,
            close_timeout=PATIENCE_S,
            ping_interval=None,
            proxy=None,
        )

    async def test_pages_websockets_and_feeds_work_behind_nginx(self) -> None:
        await self.start("--ping-interval", "0.4")
        await deferToThread(self.use)

    async def test_through_a_unix_socket(self) -> None:
        path = f"unix:{self.folder}/http.sock"
        await self.start("--ping-interval", "0.4", listen=path, proxies="unix:")
        await deferToThread(self.use)

    def use(self) -> None:
        # The client's address, even if the client sends another one, and that it uses TLS.
        self.assertEqual(self.get("/"), f"{CLIENT} True")
        with self.websocket() as client:
            self.assertEqual(client.recv(PATIENCE_S), CLIENT)
            # Longer than nginx's timeout.
            self.assertEqual(client.recv(PATIENCE_S), "still here")
        with self.assertRaises(InvalidStatus) as refused:
            self.websocket("https://evil.example")
        self.assertEqual(refused.exception.response.status_code, 403)
        # Events arrive at once, not when a buffer is full.
        connection = self.http()
        connection.request("GET", "/live/", headers={"Accept": "text/event-stream"})
        events = connection.getresponse()
        self.assertEqual(events.status, 200)
        while self.get("/tell/") == "0":
            pass  # the feed is not subscribed yet
        while b'"message":"news"' not in (line := events.readline()):
            self.assertTrue(line, "the stream ended without it")
        connection.close()

    async def test_the_streams_of_one_address_are_limited(self) -> None:
        await self.start()
        await deferToThread(self.take_all)

    def take_all(self) -> None:
        statuses = []
        for _ in range(LIMIT + 1):
            connection = self.http()
            self.addCleanup(connection.close)
            connection.request("GET", "/live/", headers={"Accept": "text/event-stream"})
            response = connection.getresponse()
            self.addCleanup(response.close)
            statuses.append(response.status)
        self.assertEqual(statuses, [200] * LIMIT + [429])

    async def test_a_socketio_session_stays_on_one_of_two_machines(self) -> None:
        clusters = await self.start(machines=2)
        await deferToThread(self.poll)
        for cluster in clusters:  # each has some of the addresses
            await statistics_until(
                cluster, lambda found: sum(found.values()) > 0, "c10k_socketio_sessions_total"
            )

    def poll(self) -> None:
        for number in range(1, ADDRESSES + 1):
            converse(partial(self.http, f"127.0.1.{number}"))

    async def test_without_pings_the_proxy_disconnects(self) -> None:
        """check --deploy warns of this; it also shows that the test above is effective."""
        await self.start("--ping-interval", "60")
        await deferToThread(self.be_disconnected)

    def be_disconnected(self) -> None:
        with self.websocket() as client:
            client.recv(PATIENCE_S)
            self.assertRaises(ConnectionClosedError, client.recv, PATIENCE_S)
