"""Admission and attributes of handlers, on a real cluster."""

import json
import signal
import sys
import uuid
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers

from tests.e2e.asking import get, metrics, total_until
from tests.e2e.processes import (
    TEST_TIMEOUT_S,
    Cluster,
    Program,
    reactor,
    start_cluster,
    start_program,
)
from tests.e2e.wsclient import Client, Closed, connect


class HandlerTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def start(self, settings: str = "tests.e2e.handler_site") -> None:
        self.state = {"C10K_STATE_DIR": str(Path(self.mktemp()).absolute())}
        options = ("--nodes", "2", "--settings", settings)
        self.cluster: Cluster = await start_cluster(self, *options, extra=self.state)

    async def log_in(self, name: str) -> dict[str, str]:
        """Return the Cookie header of a new session."""
        program = Program()
        command = [sys.executable, "-m", "tests.e2e.sessions", "new", name]
        start_program(self, program, command, uuid.uuid4().hex, extra=self.state)
        await program.end()
        self.assertEqual(program.status, 0, program.text)
        return {"Cookie": f"sessionid={json.loads(program.lines[-1])[name]}"}

    async def connect(self, path: str, **options: Any) -> Client:
        url = self.cluster.base_url.replace("http", "ws", 1) + path
        client = await connect(reactor, url, **options)
        self.addCleanup(self.leave, client)
        return client

    def leave(self, client: Client) -> Any:
        client.abort()
        return client.closed

    async def ask(self, path: str, **headers: str) -> tuple[int, Any, str]:
        """Return status, headers and body of the answer to a GET."""
        response: Any = await Agent(reactor).request(
            b"GET",
            (self.cluster.base_url + path).encode(),
            Headers({name: [value] for name, value in headers.items()}),
        )
        body: bytes = await readBody(response)
        return response.code, response.headers, body.decode()

    async def refused(self, path: str, **headers: str) -> tuple[int, Any, str]:
        """Return status, headers and body of the answer to a handshake."""
        asked = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            **headers,
        }
        return await self.ask(path, **asked)

    async def test_a_handler_that_continues_without_its_client_is_cancelled(self) -> None:
        """The node does not stall, and is not replaced."""
        await self.start()
        cancelled = self.cluster.line(r"tests\.e2e\.handler_site\.stubborn was cancelled: ")
        client = await self.connect("stubborn/")
        self.assertEqual(await client.next_message(), "hello")
        pids = dict(self.cluster.pids)
        client.abort()
        await cancelled
        self.assertEqual(await get(f"{self.cluster.base_url}both/blue/"), (200, "the page of blue"))
        self.assertEqual(self.cluster.pids, pids)

    async def test_locale_middleware_sets_the_language_of_handlers(self) -> None:
        await self.start("tests.e2e.language_site")
        german = {"Accept-Language": "de"}
        for path, headers, text in (
            ("yes/", german, "de Ja"),
            ("yes/", {}, "en Yes"),
            ("de/yes/", {}, "de Ja"),
            ("en/yes/", german, "en Yes"),
        ):
            client = await self.connect(path, headers=headers)
            self.assertEqual(await client.next_message(), text)
        for path, text in (("de/feed/", "Ja"), ("en/feed/", "Yes")):
            status, _, body = await self.ask(path, Prefer="wait=0")
            self.assertEqual((status, json.loads(body)["topics"][0]["topic"]), (200, text))

    async def test_a_page_and_a_websocket_may_share_a_url(self) -> None:
        await self.start()
        url = f"{self.cluster.base_url}both/blue/"
        self.assertEqual(await get(url), (200, "the page of blue"))
        client = await self.connect("both/blue/")
        self.assertEqual(await client.next_message(), "the socket of blue")
        self.assertEqual((await client.closed).code, 1000)
        self.assertEqual((await get(f"{self.cluster.base_url}json/"))[0], 426)
        self.assertEqual((await self.refused("nothing/"))[0], 404)

    async def test_accept_functions_accept_and_refuse(self) -> None:
        await self.start()
        logged = self.cluster.line("KeyError: 'secret'")
        for what, status, text in (
            ("denied", 403, "members only\n"),
            ("missing", 404, "not found\n"),
            ("full", 409, "full"),
            ("broken", 500, "internal error\n"),
        ):
            found, _, body = await self.refused(f"judged/{what}/")
            self.assertEqual((found, body), (status, text))
        status, headers, _ = await self.refused("judged/elsewhere/")
        self.assertEqual((status, headers.getRawHeaders("location")), (302, ["/somewhere/"]))
        await logged
        client = await self.connect("judged/fine/", subprotocol="b")
        self.assertEqual(client.http_headers["x-what"], "fine")
        self.assertEqual(await client.next_message(), "fine by b")

    async def test_users(self) -> None:
        await self.start()
        self.assertEqual((await self.refused("members/"))[0], 403)
        self.assertEqual((await self.refused("members/", Cookie="sessionid=forged"))[0], 403)
        cookie = await self.log_in("anna")
        clients = [await self.connect("members/?q=%C3%A9", headers=cookie) for _ in range(2)]
        for client in clients:
            client.send("who am I?")
            self.assertEqual(
                json.loads(await client.next_message()),
                {
                    "user": "anna",
                    "by async ORM": "anna",
                    "in database": "anna",
                    "path": "/members/",
                    "query": "é",
                    "room": None,
                    "on the reactor": "SynchronousOnlyOperation",
                },
            )

    async def test_asyncio_and_libraries_on_it_work_in_handlers(self) -> None:
        await self.start()
        client = await self.connect("libraries/")
        for text in ("one", "two"):
            client.send(text)
            self.assertEqual(
                json.loads(await client.next_message()),
                [text, f"{text} 0", text.upper(), "timeout"],
            )

    async def test_invalid_json_and_too_many_messages_close_the_connection(self) -> None:
        await self.start()
        for message, code in (("{", 1007), ("NaN", 1007), (b"{}", 1003)):
            client = await self.connect("json/")
            client.send('{"a": [1, null]}')
            self.assertEqual(await client.next_message(), '{"a":[1,null]}')
            client.send(message)
            self.assertEqual((await client.closed).code, code)
        client = await self.connect("json/")
        for _ in range(6):
            client.send("1")
        self.assertEqual(await client.closed, Closed(1008, "too many messages"))
        self.assertIn(
            'c10k_limited_total{limit="message_rate",node="node',
            await metrics(self.cluster.admin_url),
        )

    async def test_pending_handshakes_are_answered_at_a_stop(self) -> None:
        await self.start()
        asked = [ensureDeferred(self.refused("never/")) for _ in range(4)]
        await total_until(self.cluster, len(asked), "c10k_handshakes_deciding")
        self.cluster.kill()
        for each in asked:
            self.assertEqual((await each)[0], 503)
        await self.cluster.end()
        self.assertEqual(self.cluster.signal, signal.SIGTERM)
        self.assertNotIn("leaving", self.cluster.text)
