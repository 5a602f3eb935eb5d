"""Tests of cluster.supervisor.admin_port, through the real Site and a transport in memory."""

from collections.abc import Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cluster.supervisor.admin_port import make_site
from cluster.supervisor.heartbeat import Statistics
from cluster.supervisor.status.host_check import HostNames

NODE = {
    "ready": True,
    "connections": 3,
    "connections_opened": 10,
    "disconnects": {"1000": 5, "1013": 2},
    "messages_received": 100,
    "messages_sent": 250,
    "messages_dropped": {"slow_consumer": 7},
    "messages_conflated": 1,
    "feed_clients": {"stream": 5, "poll": 0},
    "send_queue_bytes": 4096,
    "bus_gaps": 0,
    "bus_queue_bytes": 12,
    "wsgi_queue_depth": 2,
    "wsgi_threads": 10,
    "handshakes_refused": {"origin": 4},
    "turn_seconds": {"sum": 1.5, "buckets": [["0.1", 5], ["+Inf", 6]]},
    "a statistic of a later version": object(),
}
BROKER = {
    "ready": True,
    "nodes": 2,
    "batches_forwarded": 9,
    "bytes_forwarded": 99,
    "queue_bytes": 0,
}


class FixedSource:
    """A supervisor with fixed statistics."""

    def __init__(self) -> None:
        self.statistics: Deferred[Statistics] = succeed(
            {"broker": BROKER, "node0": NODE, "node1": None}
        )
        self.phrases: list[str] = []

    def survey(self) -> "Deferred[Statistics]":
        return self.statistics

    def missing(self, statistics: Statistics) -> list[str]:
        return self.phrases

    def status_document(self) -> "Deferred[dict[str, Any]]":
        return succeed({"state": "ready"})

    def starts(self) -> Mapping[str, int]:
        return {"broker": 1, "node0": 3}

    def own_statistics(self) -> Mapping[str, Any]:
        return {
            "log_lines_dropped": 7,
            "restarting": 1,
            "events": {"ready": 4},
            "process_ends": {"node0": {"SIGKILL": 2}},
        }


class AdminTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.source = FixedSource()

    def send(
        self, path: str, method: str = "GET", host: str = "Host: localhost\r\n"
    ) -> StringTransport:
        site = make_site(self.source, HostNames(["prometheus-target", ".Internal.example"]))
        site.reactor = Clock()
        transport = StringTransport()
        self.protocol = site.buildProtocol(None)
        self.protocol.makeConnection(transport)
        request = f"{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n\r\n"
        self.protocol.dataReceived(request.encode())
        return transport

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        head, _, body = self.send(path, method).value().decode().partition("\r\n\r\n")
        return int(head.split()[1]), body

    def test_index_lists_the_pages(self) -> None:
        status, body = self.get("/")
        self.assertEqual(status, 200)
        for page in ("status.json", "readyz", "metrics"):
            self.assertIn(f'href="{page}"', body)

    def test_healthz_is_200(self) -> None:
        self.assertEqual(self.get("/healthz"), (200, "ok\n"))

    def test_readyz_is_200_if_all_are_ready(self) -> None:
        self.assertEqual(self.get("/readyz"), (200, "ready\n"))

    def test_readyz_is_503_with_the_reasons_otherwise(self) -> None:
        self.source.phrases = ["broker is not running", "node1 is starting"]
        self.assertEqual(
            self.get("/readyz"), (503, "not ready: broker is not running; node1 is starting\n")
        )

    def test_readyz_is_200_if_the_cluster_is_cut_off_from_other_machines(self) -> None:
        uplink = {
            "machine": "a", "state": "cut off", "reason": "no answer", "seconds": 1.0,
            "machines": [],
        }  # fmt: skip
        self.source.statistics = succeed({"broker": {"ready": True, "uplink": uplink}})
        text = "degraded: cut off from the other machines: no answer\n"
        self.assertEqual(self.get("/readyz"), (200, text))

    def test_hosts(self) -> None:
        """A page elsewhere must not read them through a name that it lets resolve to this host."""
        for host in (
            "127.0.0.1:9000", "[::1]:9000", "prometheus-target:9000", "a.internal.example",
            "internal.example:9000",
        ):  # fmt: skip
            for path in ("/metrics", "/readyz", "/healthz", "/status.json"):
                self.source = FixedSource()
                head = self.send(path, host=f"Host: {host}\r\n").value()
                self.assertIn(b" 200 ", head.partition(b"\r\n")[0], (host, path))
        for path in ("/metrics", "/readyz", "/", "/status.json"):
            answer = self.send(path, host="Host: rebinding.example:9000\r\n").value()
            self.assertIn(b" 403 ", answer.partition(b"\r\n")[0], path)
            self.assertIn(b"ADMIN_HOSTS", answer)
        answer = self.send("/healthz", host="Host: any.example\r\n").value()
        self.assertIn(b" 200 ", answer.partition(b"\r\n")[0])

    def test_a_probe_without_a_host(self) -> None:
        site = make_site(self.source, HostNames())
        site.reactor = Clock()
        transport = StringTransport()
        protocol = site.buildProtocol(None)
        protocol.makeConnection(transport)
        protocol.dataReceived(b"GET /readyz HTTP/1.0\r\n\r\n")
        self.assertIn(b" 200 ", transport.value().partition(b"\r\n")[0])

    def test_other_paths_are_not_found(self) -> None:
        # A probe with a typo in its path must fail.
        for path in ("/ready", "//readyz", "/readyz/", "/readyz/x", "/healthz/x", "/favicon.ico"):
            self.assertEqual(self.get(path)[0], 404, path)

    def test_no_answer_names_the_server(self) -> None:
        for path in ("/", "/healthz", "/nothing"):
            head = self.send(path).value().partition(b"\r\n\r\n")[0].lower()
            self.assertNotIn(b"server:", head, path)
            self.assertNotIn(b"twisted", head, path)

    def test_other_methods_are_refused(self) -> None:
        for path in ("/", "/healthz", "/readyz", "/metrics"):
            self.assertEqual(self.get(path, "POST")[0], 405, path)

    def test_head_is_answered_without_a_body(self) -> None:
        self.assertEqual(self.get("/healthz", "HEAD"), (200, ""))
        self.assertEqual(self.get("/readyz", "HEAD"), (200, ""))

    def test_metrics(self) -> None:
        status, body = self.get("/metrics")
        self.assertEqual(status, 200)
        samples = {
            (sample.name, sample.labels.pop("node"), *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
        }
        expected = {
            ("c10k_up", "broker"): 1,
            ("c10k_up", "node0"): 1,
            ("c10k_up", "node1"): 0,
            ("c10k_ready", "node1"): 0,
            ("c10k_restarting", "supervisor"): 1,
            ("c10k_events_total", "supervisor", "ready"): 4,
            ("c10k_process_ends_total", "node0", "SIGKILL"): 2,
            ("c10k_turn_seconds_bucket", "node0", "0.1"): 5,
            ("c10k_turn_seconds_bucket", "node0", "+Inf"): 6,
            ("c10k_turn_seconds_count", "node0"): 6,
            ("c10k_turn_seconds_sum", "node0"): 1.5,
            ("c10k_starts_total", "node0"): 3,
            ("c10k_connections", "node0"): 3,
            ("c10k_connections_opened_total", "node0"): 10,
            ("c10k_disconnects_total", "node0", "1013"): 2,
            ("c10k_messages_received_total", "node0"): 100,
            ("c10k_messages_sent_total", "node0"): 250,
            ("c10k_messages_dropped_total", "node0", "slow_consumer"): 7,
            ("c10k_handshakes_refused_total", "node0", "origin"): 4,
            ("c10k_send_queue_bytes", "node0"): 4096,
            ("c10k_bus_queue_bytes", "node0"): 12,
            ("c10k_feed_clients", "node0", "stream"): 5,
            ("c10k_feed_clients", "node0", "poll"): 0,
            ("c10k_bus_gaps_total", "node0"): 0,
            ("c10k_wsgi_queue_depth", "node0"): 2,
            ("c10k_broker_nodes", "broker"): 2,
            ("c10k_log_lines_dropped_total", "supervisor"): 7,
            ("c10k_broker_batches_forwarded_total", "broker"): 9,
        }
        self.assertEqual({key: samples.get(key) for key in expected}, expected)
        self.assertNotIn(("c10k_connections", "node1"), samples)

    def test_a_client_may_leave_before_the_answer(self) -> None:
        self.source.statistics = Deferred()
        transport = self.send("/readyz")
        self.protocol.connectionLost(Failure(ConnectionLost()))
        self.source.statistics.callback({})
        self.assertEqual(transport.value(), b"")

    def test_an_internal_error_is_logged_and_answered(self) -> None:
        self.source.statistics = succeed({"node0": {"disconnects": "not a dict"}})
        self.assertEqual(self.get("/metrics")[0], 500)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
