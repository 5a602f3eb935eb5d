"""More slow views than threads and queue hold: 503 at once, and WebSockets are still served.

benchmarks.slow_views measures how long an echo takes meanwhile.
"""

import fcntl
import json
import os
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from tests.e2e import wsclient
from tests.e2e.asking import get, statistics, until
from tests.e2e.processes import TEST_TIMEOUT_S, reactor, start_cluster

NODES = 2
SETTINGS = {"WSGI_THREADS": 4, "WSGI_QUEUE": 6}
PLACES = NODES * sum(SETTINGS.values())
VIEWS = 10 * PLACES


class SlowViewTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def test_requests_beyond_the_queue_are_refused_at_once(self) -> None:
        path = Path(self.mktemp()).resolve()
        lock = os.open(path, os.O_CREAT | os.O_RDWR)
        self.addCleanup(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        extra = {"DRILL_SETTINGS": json.dumps(SETTINGS), "DRILL_LOCK": str(path)}
        cluster = await start_cluster(
            self, "--nodes", str(NODES), "--settings", "tests.e2e.drill_site", extra=extra
        )
        url = f"ws://127.0.0.1:{cluster.port}/backend/ws/"
        sockets: dict[int, wsclient.Client] = {}
        while len(sockets) < NODES:
            client = await wsclient.connect(reactor, url)
            self.addCleanup(client.abort)
            client.send("before")
            sockets[json.loads(await client.next_message())["node"]] = client
        codes: list[int] = []

        async def ask() -> None:
            code, _ = await get(cluster.base_url + "slow/", timeout=TEST_TIMEOUT_S)
            codes.append(code)

        views = gatherResults([Deferred.fromCoroutine(ask()) for _ in range(VIEWS)])
        await until(lambda: len(codes) == VIEWS - PLACES)
        self.assertEqual(set(codes), {503})
        for node, client in sockets.items():
            client.send("meanwhile")
            answer = json.loads(await client.next_message())
            self.assertEqual(answer, {"node": node, "echo": "meanwhile"})
        waiting = await statistics(cluster, "c10k_wsgi_queue_depth")
        self.assertEqual([SETTINGS["WSGI_QUEUE"]] * NODES, list(waiting.values()))
        self.assertEqual(len(codes), VIEWS - PLACES, "a slow view has been answered")
        fcntl.flock(lock, fcntl.LOCK_UN)
        await views
        self.assertEqual(codes.count(200), PLACES)
