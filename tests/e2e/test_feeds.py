"""Feeds on a real cluster: every transport, across nodes, and when nodes are killed or stop."""

import json
import os
import resource
import signal
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from tests.e2e import test_sessions
from tests.e2e.asking import get, ready, statistics, total_until, until
from tests.e2e.browser import start_browser
from tests.e2e.processes import TEST_TIMEOUT_S, Cluster, reactor, start_cluster
from tests.e2e.streams import Stream, open_stream, poll
from tests.e2e.test_tls import exchange, make_certificate
from tests.e2e.wsclient import connect
from tests.once import once


async def start(test: TestCase, *options: str, **how: Any) -> Cluster:
    return await start_cluster(test, "--settings", "tests.e2e.feed_site", *options, **how)


def said(messages: list[bytes]) -> list[str]:
    return [json.loads(each)["message"] for each in messages]


def numbered(text: str, *numbers: int) -> list[str]:
    return [f"{text} {number}" for number in numbers]


class FeedTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def streams(self, cluster: Cluster, count: int) -> list[Stream]:
        """Open some streams, which are subscribed."""
        url = cluster.base_url + "feed/"
        found = [await open_stream(url) for _ in range(count)]
        for stream in found:
            self.addCleanup(stream.hang_up)
            self.assertEqual(stream.status, 200, stream.head)
            await stream.answers_until(2)
        return found

    async def publish(self, cluster: Cluster, topic: str, text: str, count: int) -> None:
        url = f"{cluster.base_url}publish/{topic}/?text={text}&count={count}"
        self.assertEqual(await get(url), (200, "published\n"))

    async def test_all_three_transports_receive_the_same_messages(self) -> None:
        """Ordinary views are served meanwhile, although there is only one thread for them."""
        cluster = await start(self, "--nodes", "2")
        streams = await self.streams(cluster, 20)
        sockets = [
            await connect(
                reactor, cluster.base_url.replace("http", "ws") + "feed/", subprotocol="c10k.v1"
            )
            for _ in range(20)
        ]
        for socket in sockets:
            self.addCleanup(socket.abort)
            for _ in range(2):
                await socket.next_message()
        polls = [Deferred.fromCoroutine(poll(cluster.base_url + "feed/", 50)) for _ in range(20)]
        for kind in ("stream", "websocket", "poll"):
            await total_until(cluster, 20, "c10k_feed_clients", kind=kind)
        await self.publish(cluster, "kept", "hello", 3)
        for answer in await gatherResults(polls):
            first, *_ = answer["messages"]
            self.assertEqual((first["topic"], first["message"]), ("kept", "hello 0"))
            self.assertEqual(answer["since"].rpartition(":")[0].partition("=")[0], "kept")
        for stream in streams:
            heard = said(await stream.messages_until(3))
            self.assertEqual(heard, numbered("hello", 0, 1, 2))
        for socket in sockets:
            messages = [str(await socket.next_message()).encode() for _ in range(3)]
            self.assertEqual(messages, streams[0].messages)

    async def test_clients_that_leave_are_not_counted_any_more(self) -> None:
        cluster = await start(self, "--nodes", "1")
        for way in (Stream.leave, Stream.hang_up):
            for stream in await self.streams(cluster, 2):
                way(stream)
                await stream.closed
            await total_until(cluster, 0, "c10k_feed_clients", kind="stream")

    async def test_a_client_resumes_on_another_node_when_its_node_is_killed(self) -> None:
        """It misses no message."""
        cluster = await start(self, "--nodes", "2")
        streams = await self.streams(cluster, 6)
        await self.publish(cluster, "kept", "before", 2)
        for stream in streams:
            await stream.messages_until(2)
        counts = await statistics(cluster, "c10k_feed_clients", kind="stream")
        victim = max(counts, key=lambda node: counts[node])
        replaced = cluster.line(f"{victim} ready")
        os.kill(cluster.pids[victim], signal.SIGKILL)
        await DeferredList([stream.closed for stream in streams], fireOnOneCallback=True)
        await self.publish(cluster, "kept", "meanwhile", 2)
        await replaced
        await until(lambda: sum(stream.closed.called for stream in streams) == counts[victim])
        lost = [stream for stream in streams if stream.closed.called]
        for stream in lost:
            back = await open_stream(cluster.base_url + "feed/", f"Last-Event-ID: {stream.last_id}")
            self.addCleanup(back.hang_up)
            heard = said(await back.messages_until(2))
            self.assertEqual(heard, numbered("meanwhile", 0, 1))
            answers = {each["topic"]: each["recovered"] for _, each in back.events}
            self.assertTrue(answers["kept"])
            query = f"feed/?since={quote(stream.last_id)}"
            answer = await poll(cluster.base_url + query, 50)
            self.assertEqual(
                [each["message"] for each in answer["messages"]], numbered("meanwhile", 0, 1)
            )

    async def test_streams_continue_when_the_broker_is_killed(self) -> None:
        """Their positions stay valid."""
        cluster = await start(self, "--nodes", "2")
        streams = await self.streams(cluster, 6)
        await self.publish(cluster, "kept", "before", 2)
        for stream in streams:
            await stream.messages_until(2)
        place = streams[0].last_id
        replaced = cluster.line("broker ready")
        os.kill(cluster.pids["broker"], signal.SIGKILL)
        await self.publish(cluster, "kept", "meanwhile", 2)
        await replaced
        await self.publish(cluster, "kept", "after", 2)
        heard = said(await streams[0].messages_until(6))
        for text in ("before", "meanwhile", "after"):  # each may be published by another node
            self.assertEqual([each for each in heard if text in each], numbered(text, 0, 1))
        for stream in streams:
            self.assertEqual(said(await stream.messages_until(6)), heard)
        back = await open_stream(cluster.base_url + "feed/", f"Last-Event-ID: {place}")
        self.addCleanup(back.hang_up)
        self.assertEqual(said(await back.messages_until(4)), heard[2:])
        answers = {each["topic"]: each["recovered"] for _, each in back.events}
        self.assertTrue(answers["kept"])

    async def test_streams_end_when_the_cluster_stops(self) -> None:
        cluster = await start(self, "--nodes", "2")
        streams = await self.streams(cluster, 4)
        waiting = Deferred.fromCoroutine(poll(cluster.base_url + "feed/", 50))
        await total_until(cluster, 1, "c10k_feed_clients", kind="poll")
        cluster.kill()
        self.assertEqual((await waiting)["messages"], [])
        for stream in streams:
            await stream.closed
            self.assertEqual(stream.events[-1][0], "close")
            self.assertEqual(stream.events[-1][1]["code"], 1001)
        await cluster.end()

    async def test_a_client_that_does_not_read_is_disconnected(self) -> None:
        cluster = await start(self, "--nodes", "1")
        slow, quick = await self.streams(cluster, 2)
        transport: Any = slow.transport
        transport.pauseProducing()
        text = "x" * 5000
        sent = 0
        ended = {"name": "c10k_feed_streams_ended_total", "reason": "slow_consumer"}
        while not sum((await statistics(cluster, **ended)).values()):
            await self.publish(cluster, "plain", text, 100)
            sent += 100
            await quick.messages_until(sent)
        dropped = await statistics(cluster, "c10k_messages_dropped_total", reason="slow_consumer")
        self.assertGreater(sum(dropped.values()), 0)
        transport.resumeProducing()
        await slow.closed


class TLSTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def test_a_stream_under_tls(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        key, certificate = make_certificate(folder.resolve())
        endpoint = f"ssl:0:privateKey={key}:certKey={certificate}:interface=127.0.0.1"
        cluster = await start(self, "--nodes", "1", listen=endpoint)

        async def ask(path: str, header: str, until: bytes) -> bytes:
            request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n"
            answer: bytes = await deferToThread(
                exchange, cluster.port, certificate, request, b"", until
            )
            self.assertIn(until, answer)
            return answer

        await ask("/publish/kept/?text=hello", "Connection: close", b"published")
        await ask("/feed/", "Accept: text/event-stream", b'"message":"hello 0"')
        await ask("/feed/", "Prefer: wait=20", b'"message":"hello 0"')


class SessionTests(TestCase):
    """The end of a session ends its streams and polls, on every node."""

    timeout = TEST_TIMEOUT_S

    start = test_sessions.SessionTests.start
    outside = test_sessions.SessionTests.outside
    log_out = test_sessions.SessionTests.log_out
    socket = test_sessions.SessionTests.socket
    leave = test_sessions.SessionTests.leave

    async def test_logout_ends_streams_and_polls(self) -> None:
        await self.start("anna")
        url = self.cluster.base_url + "live/events/"
        cookie = f"Cookie: sessionid={self.keys['anna']}"
        annas = [await open_stream(url, cookie) for _ in range(10)]
        guest = await open_stream(url)
        for stream in (*annas, guest):
            self.addCleanup(stream.hang_up)
            await stream.answers_until(1)
        pace = test_sessions.Pace(await self.socket(""))
        await self.log_out(self.keys["anna"])
        for stream in annas:
            await stream.closed
            self.assertEqual(stream.events[-1][0], "close")
            self.assertEqual(stream.events[-1][1]["code"], 4401)
        await pace.assert_within(self, test_sessions.WITHIN_S)
        await self.outside("from cluster import publish; publish('live', 'to those who stay')")
        self.assertEqual(said(await guest.messages_until(1)), ["to those who stay"])


@once
class ManyClientsTests(TestCase):
    """2,000 streams and 2,000 WebSockets on one topic, on two nodes."""

    timeout = TEST_TIMEOUT_S
    EACH = 2000
    MESSAGES = 20

    async def test_all_receive_the_same_messages_in_the_same_order(self) -> None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit[1] < 3 * self.EACH:
            raise SkipTest(f"a process may have but {limit[1]} descriptors")
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limit)
        cluster = await start(self, "--nodes", "2")
        url = cluster.base_url + "feed/?topic=kept"
        clients: list[Any] = []
        for _ in range(self.EACH // 50):
            batch = [Deferred.fromCoroutine(open_stream(url)) for _ in range(50)]
            batch += [self.open_socket(cluster) for _ in range(50)]
            clients += await gatherResults(batch)
        for client in clients:
            self.addCleanup(client.hang_up)
            await client.answers_until(1)
        # Two views publish at once, so that no single publisher determines the order.
        publishers = [
            Deferred.fromCoroutine(
                get(f"{cluster.base_url}publish/kept/?text={name}&count={self.MESSAGES // 2}")
            )
            for name in ("one", "two")
        ]
        await gatherResults(publishers)
        for client in clients:
            await client.messages_until(self.MESSAGES)
        first = clients[0].messages
        self.assertEqual(
            sorted(said(first)),
            sorted(numbered("one", *range(10)) + numbered("two", *range(10))),
        )
        different = [client for client in clients if client.messages != first]
        self.assertEqual([], different)
        for kind in ("stream", "websocket"):
            await total_until(cluster, self.EACH, "c10k_feed_clients", kind=kind)

    def open_socket(self, cluster: Cluster) -> "Deferred[Any]":
        client = SocketClient(cluster.port)
        endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", cluster.port)
        connecting: Deferred[Any] = endpoint.connect(Factory.forProtocol(lambda: client))
        return connecting.addCallback(lambda _: client.opened)


PING, PONG = 0x89, 0x8A
"""The first byte of these frames."""


class SocketClient(Stream):
    """The same for a WebSocket, for frames of up to 125 bytes that are never split."""

    def __init__(self, port: int) -> None:
        super().__init__(
            b"GET /feed/?topic=kept HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: c10k.v1\r\n\r\n" % port
        )

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if not self.status:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            self.status, self._received = int(head.split()[1]), rest
            self.opened.callback(self)
        while len(self._received) >= 2 and len(self._received) >= 2 + self._received[1]:
            size = self._received[1]
            if size > 125:
                raise AssertionError("this message is too long for this client")
            first = self._received[0]
            payload, self._received = self._received[2 : 2 + size], self._received[2 + size :]
            if first == PING:  # sent if the machine is busy for longer than the ping interval
                transport: Any = self.transport
                transport.write(bytes([PONG, 0x80 | size]) + bytes(4) + payload)
            elif b'"recovered"' in payload:
                self.events.append(("recovered", payload))
            else:
                self.messages.append(payload)
        self._look()


@once
class BrowserTests(TestCase):
    """c10k.js in Chromium."""

    timeout = TEST_TIMEOUT_S

    async def test_each_transport_resumes_after_being_offline(self) -> None:
        browser = await start_browser(self)
        cluster = await start(self, "--nodes", "2")
        await ready(cluster.admin_url)

        def shows(page: Any, state: str, *messages: str) -> None:
            page.wait_for_function(
                "([state, messages]) => document.getElementById('state').textContent === state"
                " && [...document.querySelectorAll('li')].map((item) => item.textContent).join()"
                " === messages",
                arg=[state, ",".join(messages)],
            )

        def open_pages() -> dict[str, Any]:
            # A page without WebSocket, and one without both WebSocket and streams.
            pages = {}
            for transport, queries in {
                "websocket": "",
                "stream": "?transport=stream&transport=poll",
                "poll": "?transport=poll",
            }.items():
                pages[transport] = browser.open(cluster.base_url + queries)
                shows(pages[transport], f"open {transport}")
                self.assertEqual(pages[transport].get_attribute("body", "data-same"), "true")
            return pages

        pages = await browser.call(open_pages)
        await self.publish(cluster, "a", 2)

        def offline() -> None:
            for transport, page in pages.items():
                shows(page, f"open {transport}", "a 0", "a 1")
                page.context.set_offline(True)

        await browser.call(offline)
        # Going offline does not close open connections, but killing the nodes does.
        for name in ("node0", "node1"):
            replaced = cluster.line(f"{name} ready")
            os.kill(cluster.pids[name], signal.SIGKILL)
            await replaced
        await self.publish(cluster, "b", 2)

        def online() -> None:
            for page in pages.values():
                page.context.set_offline(False)
            for transport, page in pages.items():
                shows(page, f"open {transport}", "a 0", "a 1", "b 0", "b 1")

        await browser.call(online)

    async def publish(self, cluster: Cluster, text: str, count: int) -> None:
        url = f"{cluster.base_url}publish/kept/?text={text}&count={count}"
        self.assertEqual(await get(url), (200, "published\n"))
