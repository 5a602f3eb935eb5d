"""The admin port: ``/healthz``, ``/readyz`` and ``/metrics`` of the whole cluster.

Plain HTTP for probes and Prometheus, on loopback unless the operator says otherwise; it shows
figures and changes nothing. Each request for readiness or metrics asks every child, so what it
answers is true now; a child that does not answer within a second is left out.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from cluster.supervisor.health import Statistics

REQUEST_TIMEOUT_S = 30
"""An idle connection to the admin port is closed after so long; scrapers come every 15 s."""

_log = Logger()


class Source(Protocol):
    """What the admin port needs of the supervisor."""

    def survey(self) -> "Deferred[Statistics]":
        """The figures of every child; None for one that does not answer."""

    def missing(self, statistics: Statistics) -> list[str]:
        """What keeps the cluster from being ready; empty if it is."""

    def starts(self) -> Mapping[str, int]:
        """How often each child was started."""


# key in a child's figures -> metric name, help text, name of the label if the figure is a dict
_GAUGES = {
    "connections": ("c10k_connections", "Open WebSocket connections", ""),
    "feed_clients": ("c10k_feed_clients", "Open clients of feeds, by how they connect", "kind"),
    "send_queue_bytes": ("c10k_send_queue_bytes", "Bytes waiting for slow clients", ""),
    "bus_queue_bytes": ("c10k_bus_queue_bytes", "Bytes waiting for the bus", ""),
    "wsgi_queue_depth": ("c10k_wsgi_queue_depth", "Requests waiting for a thread", ""),
    "wsgi_threads": ("c10k_wsgi_threads", "Threads that run views", ""),
    "handshakes_deciding": (
        "c10k_handshakes_deciding",
        "WebSocket handshakes that wait for their session or accept function",
        "",
    ),
    "database_queue_depth": (
        "c10k_database_queue_depth",
        "Calls of in_database and handshakes that wait for a thread",
        "",
    ),
    "database_threads": ("c10k_database_threads", "Threads of in_database", ""),
    "nodes": ("c10k_broker_nodes", "Nodes connected to the broker", ""),
    "queue_bytes": ("c10k_broker_queue_bytes", "Bytes waiting in the broker for slow nodes", ""),
}
_COUNTERS = {
    "connections_opened": ("c10k_connections_opened", "WebSocket connections opened", ""),
    "disconnects": ("c10k_disconnects", "WebSocket connections closed, by close code", "code"),
    "messages_received": ("c10k_messages_received", "Messages from clients", ""),
    "messages_sent": ("c10k_messages_sent", "Messages to clients", ""),
    "messages_dropped": ("c10k_messages_dropped", "Messages that were not delivered", "reason"),
    "messages_conflated": ("c10k_messages_conflated", "Messages replaced by newer ones", ""),
    "handshakes_refused": ("c10k_handshakes_refused", "WebSocket handshakes refused", "status"),
    "published_externally": ("c10k_published_externally", "Publications by other processes", ""),
    "feed_requests": ("c10k_feed_requests", "Streams and polls that were let in", "kind"),
    "feed_requests_refused": (
        "c10k_feed_requests_refused",
        "Streams and polls that were refused",
        "status",
    ),
    "feed_streams_ended": ("c10k_feed_streams_ended", "Streams that ended, by why", "reason"),
    "bus_gaps": ("c10k_bus_gaps", "Gaps in what other nodes published", ""),
    "wsgi_refused": ("c10k_wsgi_refused", "Requests answered 503 because too many waited", ""),
    "limited": ("c10k_limited", "Clients refused or closed by a limit, by which", "limit"),
    "revoked": ("c10k_revoked", "Clients closed because their session or user ended", ""),
    "database_calls": ("c10k_database_calls", "Calls that a database thread has begun", ""),
    "database_wait_seconds": (
        "c10k_database_wait_seconds",
        "Time that those calls waited for a thread",
        "",
    ),
    "database_refused": ("c10k_database_refused", "Calls refused because too many waited", ""),
    "retained_evicted": ("c10k_broker_retained_evicted", "Retained topics dropped for others", ""),
    "batches_forwarded": (
        "c10k_broker_batches_forwarded",
        "Batches of messages that the broker forwarded",
        "",
    ),
    "bytes_forwarded": ("c10k_broker_bytes_forwarded", "Bytes that the broker forwarded", ""),
}


class ClusterCollector(Collector):
    """One scrape's figures in Prometheus's terms."""

    def __init__(self, statistics: Statistics, starts: Mapping[str, int]) -> None:
        self._statistics = statistics
        self._starts = starts

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("c10k_up", "Whether the process answers", labels=["node"])
        ready = GaugeMetricFamily("c10k_ready", "Whether the process serves", labels=["node"])
        starts = CounterMetricFamily("c10k_starts", "Starts of the process", labels=["node"])
        for name, statistics in self._statistics.items():
            up.add_metric([name], statistics is not None)
            ready.add_metric([name], bool(statistics and statistics.get("ready")))
            starts.add_metric([name], self._starts.get(name, 0))
        yield from (up, ready, starts)
        families: tuple[tuple[Any, Mapping[str, tuple[str, str, str]]], ...] = (
            (GaugeMetricFamily, _GAUGES),
            (CounterMetricFamily, _COUNTERS),
        )
        for make, table in families:
            for key, (metric, text, label) in table.items():
                family = make(metric, text, labels=["node", label] if label else ["node"])
                for name, value in self._values(key):
                    if label:
                        for what, amount in value.items():
                            family.add_metric([name, what], amount)
                    else:
                        family.add_metric([name], value)
                yield family

    def _values(self, key: str) -> Iterable[tuple[str, Any]]:
        for name, statistics in self._statistics.items():
            if statistics is not None and key in statistics:
                yield name, statistics[key]


class _Text(Resource):
    """A page that never changes."""

    def __init__(self, body: bytes, content_type: bytes = b"text/plain; charset=utf-8") -> None:
        super().__init__()
        self._body = body
        self._content_type = content_type

    def render_GET(self, request: Request) -> bytes:
        request.setHeader(b"content-type", self._content_type)
        return self._body


class _Surveyed(Resource):
    """A page that is made of every child's figures."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source

    def render_GET(self, request: Request) -> int:
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        def answer(statistics: Statistics) -> None:
            status, content_type, body = self.page(statistics)
            if gone:
                return
            request.setResponseCode(status)
            request.setHeader(b"content-type", content_type)
            request.setHeader(b"content-length", b"%d" % len(body))
            request.setHeader(b"cache-control", b"no-store")
            request.write(body)
            request.finish()

        def fail(failure: Any) -> None:
            _log.failure("cannot answer {path!r}", failure, path=request.path)
            if not gone:
                request.setResponseCode(500)
                request.finish()

        self.source.survey().addCallback(answer).addErrback(fail)
        return NOT_DONE_YET

    def page(self, statistics: Statistics) -> tuple[int, bytes, bytes]:
        """Status, content type and body."""
        raise NotImplementedError


class _Ready(_Surveyed):
    def page(self, statistics: Statistics) -> tuple[int, bytes, bytes]:
        missing = self.source.missing(statistics)
        body = f"not ready: {'; '.join(missing)}\n" if missing else "ready\n"
        return 503 if missing else 200, b"text/plain; charset=utf-8", body.encode()


class _Metrics(_Surveyed):
    def page(self, statistics: Statistics) -> tuple[int, bytes, bytes]:
        registry = CollectorRegistry()
        registry.register(ClusterCollector(statistics, self.source.starts()))
        return 200, CONTENT_TYPE_LATEST.encode(), generate_latest(registry)


_INDEX = b"""<!doctype html><html lang=en><meta charset=utf-8><title>c10k</title>
<h1>c10k</h1>
<ul>
<li><a href=/healthz>/healthz</a> 200 while the supervisor runs
<li><a href=/readyz>/readyz</a> 200 while the broker and every node serve, else 503 and why
<li><a href=/metrics>/metrics</a> figures by node, for Prometheus
</ul>
"""


class _AdminSite(Site):
    """Does not log requests: probes and scrapes come every few seconds."""

    def logPrefix(self) -> str:
        return "admin port"

    def log(self, request: Any) -> None:
        pass


def make_site(source: Source) -> Site:
    """The factory for the admin port."""
    root: Any = Resource()
    root.putChild(b"", _Text(_INDEX, b"text/html; charset=utf-8"))
    root.putChild(b"healthz", _Text(b"ok\n"))
    root.putChild(b"readyz", _Ready(source))
    root.putChild(b"metrics", _Metrics(source))
    site = _AdminSite(root, timeout=REQUEST_TIMEOUT_S)
    site.noisy = False
    site.displayTracebacks = False
    return site
