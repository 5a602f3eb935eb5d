"""The Socket.IO clients that people use, on four nodes without sticky sessions.

socket.io-client in Node and in Chromium runs the checks of socketio_clients/checks.mjs by each
transport; python-socketio's clients run those of socketio_clients/python_clients.py.
"""

import json
import sys
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from tests.e2e import npm
from tests.e2e.browser import start_browser
from tests.e2e.processes import (
    TEST_TIMEOUT_S,
    Cluster,
    Program,
    start_cluster,
    start_program,
)
from tests.once import once

SITE = "tests.e2e.socketio_server_site"
CLIENTS = Path(__file__).parent / "socketio_clients"
NODES = 4


class Suite(Program):
    """A program that prints one JSON object for each check."""

    def failed(self) -> list[Any]:
        """Return the checks that have failed."""
        return [line for line in self.checks() if not line["ok"]]

    def checks(self) -> list[Any]:
        """Return all checks."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]


async def run_suite(test: TestCase, modules: Path, *command: str, checks: int) -> None:
    """Run a program of checks, and require that each has passed."""
    suite = Suite()
    start_program(test, suite, list(command), uuid.uuid4().hex, cwd=str(modules))
    await suite.end(TEST_TIMEOUT_S)
    test.assertEqual(suite.failed(), [])
    test.assertEqual(suite.status, 0, suite.text)
    test.assertGreaterEqual(len(suite.checks()), checks, suite.text)


@once
class SocketIoClientsTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def start(self) -> Cluster:
        self.modules: Path = await deferToThread(npm.installed, CLIENTS)
        return await start_cluster(
            self,
            *("--settings", SITE, "--nodes", str(NODES)),
            extra={"SOCKETIO_CLIENTS": str(self.modules)},
        )

    async def run_in_node(self, url: str, *options: str) -> None:
        command = [npm.node(), str(CLIENTS / "suite.mjs"), url, *options]
        await run_suite(self, self.modules, *command, checks=45)

    async def test_node(self) -> None:
        cluster = await self.start()
        nodes = ("--nodes", str(NODES))
        await self.run_in_node(cluster.base_url, *nodes, "--kill")
        await self.run_in_node(cluster.base_url, *nodes, "--client", "socket.io-client-4.0")

    async def test_python(self) -> None:
        if find_spec("websocket") is None:
            raise SkipTest("websocket-client, which python-socketio needs, is not installed")
        cluster = await self.start()
        command = [sys.executable, str(CLIENTS / "python_clients.py"), cluster.base_url]
        await run_suite(self, self.modules, *command, checks=30)

    async def test_chromium(self) -> None:
        browser = await start_browser(self)
        cluster = await self.start()

        def lines() -> Any:
            page = browser.open(f"{cluster.base_url}page/")
            page.wait_for_function("() => window.start")
            # A browser opens six connections to a server, so there is no client for each node.
            page.evaluate("options => { window.start(options) }", {"nodes": 1})
            page.wait_for_function("() => window.done", timeout=TEST_TIMEOUT_S * 1000)
            return page.evaluate("() => window.lines")

        found = await browser.call(lines)
        self.assertEqual([line for line in found if not line["ok"]], [])
        self.assertGreaterEqual(len(found), 45)


@once
class ReferenceTests(TestCase):
    """The checks themselves, on the reference server."""

    timeout = TEST_TIMEOUT_S

    async def test_the_checks(self) -> None:
        modules = await deferToThread(npm.installed, CLIENTS)
        server = Program()
        command = [npm.node(), str(CLIENTS / "reference.mjs")]
        start_program(self, server, command, uuid.uuid4().hex, cwd=str(modules))
        url = (await server.line(r"^http://\S+$"))[0]
        await run_suite(self, modules, npm.node(), str(CLIENTS / "suite.mjs"), url, checks=45)
