"""Tests of cluster.supervisor.status.sampling and document."""

import json
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.supervisor.heartbeat import Statistics
from cluster.supervisor.status.document import ClusterInfo, ProcessState
from cluster.supervisor.status.process_usage import Usage
from cluster.supervisor.status.sampling import ClusterStatus


class FixedSource:
    """A supervisor whose answers the test sets."""

    def __init__(self) -> None:
        self.statistics: Statistics = {"broker": None, "node0": None}
        self.states = [
            ProcessState("broker", "ready", 1, 5.0, 1, is_broker=True),
            ProcessState("node0", "ready", 2, 4.0, 2, "signal 9, 14:02"),
        ]

    def survey(self) -> "Deferred[Statistics]":
        return succeed(self.statistics)

    def busiest_topics(self) -> "Deferred[list[dict[str, Any]]]":
        return succeed([{"topic": "chat", "subscribers": 3}])

    def process_states(self) -> Sequence[ProcessState]:
        return self.states

    def state(self, statistics: Statistics) -> tuple[str, Sequence[str]]:
        missing = [name for name, found in statistics.items() if found is None]
        return ("not ready" if missing else "ready"), [f"{name} is down" for name in missing]

    def info(self) -> ClusterInfo:
        return ClusterInfo("site.settings", ["http://localhost:8000"], 1000, "2.0")


class ClusterStatusTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.source = FixedSource()
        self.usage: dict[int, Usage] = {}
        self.status = ClusterStatus(self.source, self.clock, lambda: 1000.0, self.measure)
        self.status.start()
        self.addCleanup(self.status.stop)

    def measure(self, pid: int) -> Usage | None:
        return self.usage.get(pid)

    def document(self) -> dict[str, Any]:
        found = self.successResultOf(self.status.document())
        return dict(json.loads(json.dumps(found, allow_nan=False)))

    def test_before_the_first_answer(self) -> None:
        document = self.document()
        self.assertEqual("not ready", document["state"])
        self.assertEqual(["broker is down", "node0 is down"], document["reasons"])
        self.assertEqual([None, None], [each["rss"] for each in document["processes"]])
        self.assertIsNone(document["processes"][1]["connections"])

    def test_rates_losses_and_usage(self) -> None:
        for second in range(10):
            self.source.statistics = {
                "broker": {"ready": True, "batches_forwarded": second * 7, "queue_bytes": 0},
                "node0": {
                    "connections": 5,
                    "messages_sent": second * 100,
                    "messages_dropped": {"slow_consumer": second},
                    "feed_clients": {"stream": 2, "websocket": 1},
                    "handshakes_refused": {"403": 1},
                    "wsgi_queue_depth": 3,
                },
            }
            self.usage = {2: Usage(second * 0.25, 1 << 20)}
            self.clock.advance(1)
        self.status.record("started", "ready", process="node0")
        document = self.document()
        self.assertEqual("ready", document["state"])
        self.assertEqual((10.0, "2.0"), (document["uptime"], document["version"]))
        self.assertEqual(
            (5, 2), (document["connections"]["open"], document["connections"]["stream"])
        )
        self.assertEqual(100.0, document["messages"]["out"])
        self.assertEqual({"slow_consumer": 9}, document["lost"]["by_reason"])
        self.assertEqual(3, document["views"]["waiting"])
        self.assertEqual([{"topic": "chat", "subscribers": 3}], document["topics"])
        broker, node = document["processes"]
        self.assertEqual(("broker", 7.0), (broker["kind"], broker["batches"]))
        self.assertEqual((0.25, 1 << 20), (node["cpu"], node["rss"]))
        self.assertEqual("signal 9, 14:02", node["last_end"])
        self.assertEqual(
            ("ready", 1000.0), (document["events"][0]["text"], document["events"][0]["time"])
        )

    def test_a_new_process_has_no_usage_of_the_process_before(self) -> None:
        self.usage = {2: Usage(100.0, 1 << 20), 3: Usage(1.0, 1 << 20)}
        self.clock.advance(1)
        self.source.states[1] = self.source.states[1]._replace(pid=3)
        self.assertIsNone(self.document()["processes"][1]["rss"])
        self.clock.advance(1)
        self.assertIsNone(self.document()["processes"][1]["cpu"])
        self.clock.advance(1)
        self.assertEqual(0.0, self.document()["processes"][1]["cpu"])
