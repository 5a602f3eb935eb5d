"""Async views on a running cluster: endless streams whose clients leave, and the end of a node."""

import os
import signal

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.e2e.asking import get, statistics, total_until
from tests.e2e.processes import TEST_TIMEOUT_S, start_cluster
from tests.e2e.streams import open_stream
from tests.once import once

VISITS = 100


@once
class AsyncViewTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def test_endless_streams_keep_no_thread_and_views_end_before_a_node(self) -> None:
        name = os.path.abspath(self.mktemp())
        os.mkfifo(name)
        pipe = os.open(name, os.O_RDWR)  # for reading, too, so that it does not wait for the view
        self.addCleanup(os.close, pipe)
        extra = {"ASYNC_SITE_PIPE": name}
        cluster = await start_cluster(
            self, "--nodes", "1", "--settings", "tests.e2e.async_site", extra=extra
        )
        url = cluster.base_url
        open_at_once = []
        for _ in range(VISITS):
            stream = await open_stream(url + "stream/")
            await stream.messages_until(2)
            open_at_once.append(stream)
        self.assertEqual(await get(url + "page/"), (200, "a page"))
        (count,) = (await statistics(cluster, "c10k_async_requests")).values()
        self.assertEqual(count, VISITS)
        for stream in open_at_once:
            stream.hang_up()
        await total_until(cluster, VISITS, "c10k_async_requests_left_total")
        self.assertEqual((await get(url + "wrong/"))[0], 500)
        await cluster.line('define the view with "async def"')
        self.assertEqual(await get(url + "page/"), (200, "a page"))
        last = Deferred.fromCoroutine(get(url + "waits/"))
        await total_until(cluster, 1, "c10k_async_requests")
        cluster.kill(signal.SIGTERM)
        await cluster.line("stopping")
        os.write(pipe, b"\n")
        self.assertEqual(await last, (200, "finished"))
        await cluster.end()
