"""The statistics of all processes as metrics for Prometheus.

``cluster.node.statistics`` and ``Broker.stats`` return the statistics. docs/reference/metrics.md
lists the metrics.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from cluster.supervisor.heartbeat import Statistics

SUPERVISOR = "supervisor"
"""The label of the supervisor's own metrics."""

CONTENT_TYPE = CONTENT_TYPE_LATEST.encode()

# key in a child's statistics -> metric, help text, label if the statistic is a dict of numbers
_GAUGES = {
    "draining": ("c10k_draining", "1 if the process finishes its work and ends, else 0", ""),
    "draining_processes": (
        "c10k_draining_processes",
        "Processes that finish their work, also those that a restart has replaced",
        "",
    ),
    "drained_nodes": (
        "c10k_drained_nodes",
        "Nodes that an operator has drained, also those that still finish their work",
        "",
    ),
    "restarting": ("c10k_restarting", "1 during a rolling restart, else 0", ""),
    "connections": ("c10k_connections", "Open WebSocket connections", ""),
    "sockets": ("c10k_sockets", "Open sockets of clients: HTTP, WebSockets and feeds", ""),
    "descriptors": ("c10k_open_descriptors", "Open file descriptors", ""),
    "descriptor_limit": ("c10k_descriptor_limit", "File descriptors that may be open", ""),
    "request_bodies_bytes": (
        "c10k_request_bodies_bytes",
        "Bytes of request bodies, in memory and on disk",
        "",
    ),
    "request_body_files": ("c10k_request_body_files", "Request bodies on disk", ""),
    "handover_tunnels": (
        "c10k_handover_tunnels",
        "Connections whose bytes this node pipes to the one that has their session",
        "",
    ),
    "feed_clients": ("c10k_feed_clients", "Open clients of feeds, by kind of connection", "kind"),
    "socketio_clients": (
        "c10k_socketio_clients",
        "Open sessions of Socket.IO clients, by transport",
        "transport",
    ),
    "send_queue_bytes": ("c10k_send_queue_bytes", "Bytes queued for slow clients", ""),
    "bus_queue_bytes": ("c10k_bus_queue_bytes", "Bytes queued for the bus", ""),
    "wsgi_queue_depth": ("c10k_wsgi_queue_depth", "Requests that are waiting for a thread", ""),
    "wsgi_threads": ("c10k_wsgi_threads", "Threads that are running views", ""),
    "async_requests": (
        "c10k_async_requests",
        "Requests of async views and ASGI applications that are being answered",
        "",
    ),
    "async_threads": ("c10k_async_threads", "Threads of synchronous code in async views", ""),
    "handshakes_deciding": (
        "c10k_handshakes_deciding",
        "WebSocket handshakes that are waiting for their session or accept function",
        "",
    ),
    "database_queue_depth": (
        "c10k_database_queue_depth",
        "Calls of ain_database and handshakes that are waiting for a thread",
        "",
    ),
    "database_threads": ("c10k_database_threads", "Threads of ain_database", ""),
    "nodes": ("c10k_broker_nodes", "Nodes connected to the broker", ""),
    "history_file_bytes": (
        "c10k_broker_history_file_bytes",
        "Bytes of the file in which the broker records what topics retain; 0 without one",
        "",
    ),
    "uplink_joined": (
        "c10k_uplink_joined",
        "1 if the broker is joined with those of the other machines, 0 if it is cut off",
        "",
    ),
    "uplink_machines": ("c10k_uplink_machines", "Other machines that are joined", ""),
    "uplink_queue_bytes": (
        "c10k_uplink_queue_bytes",
        "Bytes queued in the broker for other machines",
        "",
    ),
    "uplink_round_trip_seconds": (
        "c10k_uplink_round_trip_seconds",
        "Seconds that the newest turn took to be written",
        "",
    ),
    "queue_bytes": ("c10k_broker_queue_bytes", "Bytes queued in the broker for slow nodes", ""),
}
_COUNTERS = {
    "events": ("c10k_events", "Events of the cluster, as on the status page, by kind", "kind"),
    "connections_opened": ("c10k_connections_opened", "WebSocket connections opened", ""),
    "disconnects": ("c10k_disconnects", "WebSocket connections closed, by close code", "code"),
    "messages_received": ("c10k_messages_received", "Messages received from clients", ""),
    "messages_sent": ("c10k_messages_sent", "Messages sent to clients", ""),
    "messages_dropped": (
        "c10k_messages_dropped",
        "Messages that were not delivered, by reason",
        "reason",
    ),
    "messages_conflated": ("c10k_messages_conflated", "Messages replaced by newer ones", ""),
    "handshakes_refused": (
        "c10k_handshakes_refused",
        "WebSocket handshakes refused, by HTTP status",
        "status",
    ),
    "published_externally": (
        "c10k_published_externally",
        "Publications of external publishers",
        "",
    ),
    "feed_requests": ("c10k_feed_requests", "Streams and polls that were admitted", "kind"),
    "feed_requests_refused": (
        "c10k_feed_requests_refused",
        "Streams and polls that were refused, by HTTP status",
        "status",
    ),
    "feed_streams_ended": ("c10k_feed_streams_ended", "Streams that ended, by reason", "reason"),
    "socketio_sessions": (
        "c10k_socketio_sessions",
        "Sessions of Socket.IO clients that began, by their first transport",
        "transport",
    ),
    "socketio_upgrades": (
        "c10k_socketio_upgrades",
        "Sessions of Socket.IO clients that changed from polling to WebSocket",
        "",
    ),
    "socketio_refused": (
        "c10k_socketio_refused",
        "Requests of Socket.IO clients that were refused, by Engine.IO's code or HTTP status",
        "code",
    ),
    "socketio_closed": (
        "c10k_socketio_closed",
        "Sessions of Socket.IO clients that ended, by reason",
        "reason",
    ),
    "bus_gaps": ("c10k_bus_gaps", "Gaps in the publications of other nodes", ""),
    "wsgi_refused": (
        "c10k_wsgi_refused",
        "Requests answered 503 because too many were waiting",
        "",
    ),
    "requests": (
        "c10k_requests",
        "Requests to views and ASGI applications, by kind: sync, async, application",
        "kind",
    ),
    "async_requests_refused": (
        "c10k_async_requests_refused",
        "Requests answered 503 because too many were being answered in the event loop",
        "",
    ),
    "async_requests_left": (
        "c10k_async_requests_left",
        "Requests of async views and ASGI applications whose client left before the end",
        "",
    ),
    "limited": ("c10k_limited", "Clients refused or closed by a limit, by limit", "limit"),
    "handed_over": (
        "c10k_connections_handed_over",
        "Connections handed over to the node that has their session, by how",
        "how",
    ),
    "handed_over_received": (
        "c10k_connections_received",
        "Connections that other nodes have handed over to this one",
        "",
    ),
    "handovers_failed": (
        "c10k_handovers_failed",
        "Connections that could not be handed over, or were lost meanwhile, by reason",
        "reason",
    ),
    "revoked": ("c10k_revoked", "Clients closed because their session or user ended", ""),
    "expired": (
        "c10k_expired",
        "Clients closed because their session expired or the connection was too old, by reason",
        "reason",
    ),
    "database_calls": (
        "c10k_database_calls",
        "Calls of ain_database and handshakes that a thread has started",
        "",
    ),
    "database_wait_seconds": (
        "c10k_database_wait_seconds",
        "Seconds that these calls have waited for a thread, in total",
        "",
    ),
    "database_refused": (
        "c10k_database_refused",
        "Calls refused because too many were waiting",
        "",
    ),
    "connections_refused": (
        "c10k_broker_connections_refused",
        "Connections that the broker refused: another key, none, or no ZeroMQ",
        "",
    ),
    "history_file_errors": (
        "c10k_broker_history_file_errors",
        "How often that file could not be written",
        "",
    ),
    "retained_evicted": (
        "c10k_broker_retained_evicted",
        "Retained topics evicted to make room for others",
        "",
    ),
    "batches_forwarded": (
        "c10k_broker_batches_forwarded",
        "Batches of messages that the broker forwarded",
        "",
    ),
    "log_lines_dropped": (
        "c10k_log_lines_dropped",
        "Lines of the log that were dropped because it was not read in time",
        "",
    ),
    "uplink_turns": ("c10k_uplink_turns", "Turns that the broker wrote to the engine", ""),
    "uplink_bytes": ("c10k_uplink_bytes", "Bytes that the broker wrote to the engine", ""),
    "uplink_reconnects": (
        "c10k_uplink_reconnects",
        "How often the connections to the engine were lost and made again",
        "",
    ),
    "uplink_generations": (
        "c10k_uplink_generations",
        "How often the engine had lost its data, so that the machines joined again",
        "",
    ),
    "bytes_forwarded": ("c10k_broker_bytes_forwarded", "Bytes that the broker forwarded", ""),
}


_HISTOGRAMS = {
    "turn_seconds": (
        "c10k_turn_seconds",
        "How long an event waits for the event loop, sampled",
    ),
    "fanout_latency_seconds": (
        "c10k_fanout_latency_seconds",
        "Time from a publication on another node to its flush to clients of this one, sampled",
    ),
}


# Label values that are shown from the start: a rate over a counter that appears with its first
# event would miss this event.
_DROP_REASONS = (
    "binary_message",
    "bus_queue_full",
    "channel_expired",
    "channel_full",
    "channel_gone",
    "disconnected",
    "duplicate_batch",
    "history_gap",
    "malformed",
    "node_gone",
    "node_stalled",
    "slow_consumer",
    "slow_handler",
    "socketio_log_gap",
    "socketio_queue_full",
    "too_large",
    "unknown_sender",
    "volatile",
)
_END_REASONS = ("exit status 0", "exit status 1", "SIGKILL")
_ZEROS = {
    "messages_dropped": dict.fromkeys(_DROP_REASONS, 0),
    "disconnects": {"1013": 0},
    "feed_streams_ended": {"slow_consumer": 0},
}


def exposition(
    statistics: Statistics, starts: Mapping[str, int], own: Mapping[str, Any] | None = None
) -> bytes:
    """The metrics page in Prometheus's text format.

    Args:
        statistics: The statistics of each process, or None if it did not answer.
        starts: How often each process was started.
        own: The statistics of the supervisor.
    """
    registry = CollectorRegistry()
    registry.register(_ClusterCollector(statistics, starts, own or {}))
    return generate_latest(registry)


class _ClusterCollector(Collector):
    """The metrics of one scrape."""

    def __init__(
        self, statistics: Statistics, starts: Mapping[str, int], own: Mapping[str, Any]
    ) -> None:
        self._statistics = statistics
        self._own = own
        self._starts = starts

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("c10k_up", "1 if the process answers, else 0", labels=["node"])
        ready = GaugeMetricFamily("c10k_ready", "1 if the process serves, else 0", labels=["node"])
        starts = CounterMetricFamily(
            "c10k_starts", "Number of starts of the process", labels=["node"]
        )
        ends = CounterMetricFamily(
            "c10k_process_ends",
            "Number of processes that ended, by exit status or signal",
            labels=["node", "reason"],
        )
        process_ends = self._own.get("process_ends", {})
        for name in self._statistics:
            for reason in dict.fromkeys((*_END_REASONS, *process_ends.get(name, ()))):
                ends.add_metric([name, reason], process_ends.get(name, {}).get(reason, 0))
        for name, statistics in self._statistics.items():
            up.add_metric([name], statistics is not None)
            ready.add_metric([name], bool(statistics and statistics.get("ready")))
            starts.add_metric([name], self._starts.get(name, 0))
        yield from (up, ready, starts, ends)
        for key, (metric, text) in _HISTOGRAMS.items():
            histogram = HistogramMetricFamily(metric, text, labels=["node"])
            for name, value in self._values(key):
                histogram.add_metric([name], value["buckets"], value["sum"])
            yield histogram
        families: tuple[tuple[Any, Mapping[str, tuple[str, str, str]]], ...] = (
            (GaugeMetricFamily, _GAUGES),
            (CounterMetricFamily, _COUNTERS),
        )
        for make, table in families:
            for key, (metric, text, label) in table.items():
                family = make(metric, text, labels=["node", label] if label else ["node"])
                for name, value in self._values(key):
                    if label:
                        for what, amount in {**_ZEROS.get(key, {}), **value}.items():
                            family.add_metric([name, what], amount)
                    else:
                        family.add_metric([name], value)
                yield family

    def _values(self, key: str) -> Iterable[tuple[str, Any]]:
        for name, statistics in (*self._statistics.items(), (SUPERVISOR, self._own)):
            if statistics is not None and key in statistics:
                yield name, statistics[key]
