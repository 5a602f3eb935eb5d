"""Tests of cluster.supervisor.status.status_page, through a real Site and a transport in memory."""

import json
import re
import socket
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from cluster.supervisor.status import status_page
from cluster.supervisor.status.host_check import HostNames


class PagesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.document: Deferred[dict[str, Any]] = succeed({"state": "ready"})
        self.patch(socket, "gethostname", lambda: "box")
        self.patch(socket, "getfqdn", lambda: "box.example")
        hosts = HostNames()
        hosts._asking.join()
        root: Any = Resource()
        status_page.add_to(root, lambda: self.document, hosts)
        self.site: Any = Site(root)
        self.site.displayTracebacks = False

    def ask(self, path: str, host: str = "localhost:9000") -> tuple[int, str, str]:
        """Returns the status, the header and the body."""
        transport = StringTransport()
        protocol = self.site.buildProtocol(None)
        protocol.makeConnection(transport)
        protocol.dataReceived(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        header, _, body = transport.value().decode().partition("\r\n\r\n")
        return int(header.split()[1]), header, body

    def test_the_page_and_its_files(self) -> None:
        status, header, page = self.ask("/")
        self.assertEqual(200, status)
        self.assertIn("default-src 'none'", header)
        self.assertNotRegex(page, r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=")
        for name in re.findall(r'(?:src|href)="([a-z]+\.(?:js|css|json))"', page):
            self.assertEqual(200, self.ask(f"/{name}")[0], name)

    def test_the_document(self) -> None:
        status, header, body = self.ask("/status.json")
        self.assertEqual((200, {"state": "ready"}), (status, json.loads(body)))
        self.assertIn("no-store", header)

    def test_hosts(self) -> None:
        for host in (
            "localhost", "localhost:9000", "127.0.0.1:9000", "[::1]:9000", "192.0.2.1", "box",
            "BOX.example:9000", "a.localhost",
        ):  # fmt: skip
            self.assertEqual(200, self.ask("/status.json", host)[0], host)
        for host in ("evil.example", "evil.example:9000", "box.evil.example", "", "localhost.evil"):
            for path in ("/", "/status.json", "/status.js"):
                status, _, body = self.ask(path, host)
                self.assertEqual(403, status, host)
                self.assertNotIn("ready", body)

    def test_an_error_is_logged_and_not_shown(self) -> None:
        self.document = fail(ZeroDivisionError("secret"))
        status, _, body = self.ask("/status.json")
        self.assertEqual(500, status)
        self.assertNotIn("secret", body)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_a_client_that_has_left(self) -> None:
        self.document = Deferred()
        transport = StringTransport()
        protocol = self.site.buildProtocol(None)
        protocol.makeConnection(transport)
        protocol.dataReceived(b"GET /status.json HTTP/1.0\r\nHost: localhost\r\n\r\n")
        protocol.connectionLost(Failure(ConnectionLost()))
        self.document.callback({"state": "ready"})
        self.assertEqual(b"", transport.value())
