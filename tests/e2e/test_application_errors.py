"""Errors of an application are logged once, and reach Python's logging."""

import json
import shutil
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers

from tests.e2e.asking import get, until
from tests.e2e.processes import TEST_TIMEOUT_S, Program, reactor, start_cluster, start_program
from tests.e2e.wsclient import Closed, connect
from tests.once import once

SITE = ("--settings", "tests.e2e.log_site")

AGENT: Any = Agent(reactor)

ORIGINS = ("view", "handler", "callback", "accept function", "feed")


async def fail_everywhere(base_url: str) -> None:
    """Cause one error in each part of the site."""
    ws_url = "ws" + base_url.removeprefix("http")
    assert (await get(f"{base_url}view/?q=1"))[0] == 500
    client = await connect(reactor, f"{ws_url}handler/?q=1")
    assert (await client.closed).code == 1011
    client = await connect(reactor, f"{ws_url}callback/?q=1")
    await client.next_message()
    client.send("hello")
    assert (await client.closed).code == 1011
    try:
        await connect(reactor, f"{ws_url}accept/?q=1")
    except Closed:
        pass
    else:
        raise AssertionError("the handshake was accepted")
    headers = Headers({"Prefer": ["wait=1"]})
    response = await AGENT.request(b"GET", f"{base_url}feed/?q=1".encode(), headers)
    await readBody(response)
    assert response.code == 500


@once
class ApplicationErrorTests(TestCase):
    timeout = TEST_TIMEOUT_S

    def assert_logged_once(self, cluster: Program) -> None:
        for origin in ORIGINS:
            found = cluster.text.count(f"ZeroDivisionError: of the {origin}")
            self.assertEqual(found, 1, f"{origin}: {found}\n{cluster.text}")

    async def all_in_the_log(self, cluster: Program) -> None:
        await until(
            lambda: all(f"ZeroDivisionError: of the {each}" in cluster.text for each in ORIGINS),
            lambda: cluster.text,
        )

    async def test_a_site_without_logging_has_all_tracebacks_in_the_log(self) -> None:
        cluster = await start_cluster(self, "--nodes", "1", *SITE)
        await fail_everywhere(cluster.base_url)
        await self.all_in_the_log(cluster)
        cluster.kill()
        await cluster.end()
        self.assert_logged_once(cluster)
        self.assertIn("#error] | Traceback", cluster.text)

    async def test_a_console_handler_prints_them_instead(self) -> None:
        for extra in ({"LOG_SITE": "console"}, {"LOG_SITE_DEBUG": "1"}):
            cluster = await start_cluster(self, "--nodes", "1", *SITE, extra=extra)
            await fail_everywhere(cluster.base_url)
            await self.all_in_the_log(cluster)
            cluster.kill()
            await cluster.end()
            self.assert_logged_once(cluster)

    async def test_handlers_of_logging_receive_exception_request_and_status(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="c10k-"))
        self.addCleanup(shutil.rmtree, folder)
        path = folder / "records"
        extra = {"LOG_SITE": f"file:{path}"}
        cluster = await start_cluster(self, "--nodes", "1", *SITE, extra=extra)
        await fail_everywhere(cluster.base_url)

        def failures() -> list[dict[str, Any]]:
            records = map(json.loads, path.read_text().splitlines())
            return [each for each in records if each["exception"]]

        await until(lambda: len(failures()) >= len(ORIGINS), path.read_text)
        records = failures()
        by_path = {each["path"]: each for each in records}
        for where, logger in (
            ("/view/", "django.request"),
            ("/handler/", "django.request.websocket"),
            ("/callback/", "django.request.websocket"),
            ("/accept/", "django.request.websocket"),
            ("/feed/", "django.request.feed"),
        ):
            record = by_path[where]
            self.assertEqual(record["logger"], logger)
            self.assertEqual(record["level"], "ERROR")
            self.assertEqual(record["exception"], "ZeroDivisionError")
            self.assertEqual(record["query"], {"q": "1"})
            self.assertEqual(record["status"], 500)
        self.assertEqual(len(records), len(ORIGINS))

    async def test_runserver_prints_them_once(self) -> None:
        for extra in ({}, {"LOG_SITE_DEBUG": "1"}, {"LOG_SITE": "console"}):
            server = Program()
            command = [sys.executable, "-m", "django", "runserver", "--noreload", "127.0.0.1:0"]
            command += ["--settings", "tests.e2e.log_site"]
            start_program(self, server, command, uuid.uuid4().hex, extra=extra)
            match = await server.line(r"Starting development server at (http://127\.0\.0\.1:\d+/)")
            await fail_everywhere(match[1])
            await self.all_in_the_log(server)
            server.kill()
            await server.end()
            self.assert_logged_once(server)
