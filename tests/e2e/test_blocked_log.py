"""A log that cannot be written does not stop a cluster: nobody reads it, or the disk is full."""

import signal
import socket
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.e2e.asking import LOOK_AGAIN_S, get, metrics, ready, statistics_until
from tests.e2e.processes import (
    PATIENCE_S,
    TEST_TIMEOUT_S,
    Cluster,
    process_end,
    reactor,
    start_cluster,
    start_program,
    twistd,
)
from tests.e2e.wsclient import connect
from tests.once import once

SITE = ("--settings", "tests.e2e.log_site")

LINES = 6000
"""Requests whose lines of the access log do not fit into the pipes: each has 150 bytes or more."""

TOGETHER = 50

DROPPED = "c10k_log_lines_dropped_total"


def free_port() -> int:
    """Return a port that no program uses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


async def until_it_answers(url: str) -> None:
    """Wait until a URL is answered 200, also while nothing listens."""
    deadline = reactor.seconds() + PATIENCE_S
    while reactor.seconds() < deadline:
        try:
            if (await get(url))[0] == 200:
                return
        except ConnectError:
            pass
        await deferLater(reactor, LOOK_AGAIN_S, lambda: None)
    raise AssertionError(f"{url} does not answer")


async def request_pages(base_url: str, count: int) -> None:
    """Request pages with long URLs; each must be answered."""
    for start in range(0, count, TOGETHER):
        urls = [f"{base_url}?{number}{'x' * 100}" for number in range(start, start + TOGETHER)]
        for status, _ in await gatherResults([Deferred.fromCoroutine(get(url)) for url in urls]):
            assert status == 200


@once
class BlockedLogTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def test_a_reader_that_stops_does_not_stop_the_cluster(self) -> None:
        cluster = await start_cluster(self, "--nodes", "1", "--access-log", *SITE)
        transport: Any = cluster.transport
        transport.pauseProducing()
        await request_pages(cluster.base_url, LINES)
        await ready(cluster.admin_url)
        client = await connect(reactor, f"ws{cluster.base_url[4:]}echo/")
        client.send("hello")
        self.assertEqual(await client.next_message(), "hello")
        ended = process_end(cluster.pid)
        cluster.kill()
        await ended.addTimeout(PATIENCE_S, reactor)
        self.assertEqual(cluster.processes(), [])
        transport.resumeProducing()

    async def test_a_supervisor_that_is_stopped_does_not_stop_the_nodes(self) -> None:
        cluster = await start_cluster(self, "--nodes", "1", "--access-log", *SITE)
        cluster.kill(signal.SIGSTOP)
        try:
            # The pipe to the supervisor takes some 400 of these lines.
            await request_pages(cluster.base_url, 20 * TOGETHER)
        finally:
            cluster.kill(signal.SIGCONT)
        await ready(cluster.admin_url)

    async def test_dropped_lines_are_counted_and_reported(self) -> None:
        cluster = await start_cluster(self, "--nodes", "1", *SITE)
        transport: Any = cluster.transport
        transport.pauseProducing()
        # The handler prints more lines than the queues of both processes can have.
        client = await connect(reactor, f"ws{cluster.base_url[4:]}noise/")
        self.assertEqual((await client.closed).code, 1000)
        await statistics_until(cluster, lambda found: sum(found.values()), DROPPED)
        noted = cluster.line(r"#warn\] … [\d,]+ lines of the log were dropped")
        transport.resumeProducing()
        await noted

    async def test_a_full_disk_does_not_stop_the_cluster(self) -> None:
        cluster = Cluster()
        listen, admin = free_port(), free_port()
        command = twistd("-n", "--pidfile=", "--logfile=/dev/full", "c10k", "--access-log", *SITE)
        command += ["--nodes", "1", "--listen", f"tcp:{listen}:interface=127.0.0.1"]
        command += ["--admin", f"tcp:{admin}"]
        start_program(self, cluster, command, cluster.mark)
        await until_it_answers(f"http://127.0.0.1:{admin}/readyz")
        await request_pages(f"http://127.0.0.1:{listen}/", TOGETHER)
        page = await metrics(f"http://127.0.0.1:{admin}/")
        self.assertRegex(page, rf'{DROPPED}{{node="supervisor"}} [1-9]')
        cluster.kill()
        await cluster.end()
        self.assertEqual(cluster.signal, signal.SIGTERM, cluster.text)
