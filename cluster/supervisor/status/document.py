"""The content of /status.json, from which the status page is drawn.

All times are Unix times or durations in seconds, sizes are in bytes, rates are per second. A value
that is not known is null.
"""

import platform
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cluster.supervisor.status.events import EventLog
from cluster.supervisor.status.history import SECONDS, ClusterHistory
from cluster.supervisor.status.process_usage import Usage
from cluster.supervisor.status.uplink import uplink_of

SPARKLINE_S = 120
"""Seconds that the page's small diagrams show."""

EVENTS = 50


class ProcessState(NamedTuple):
    """One process of the cluster, as the supervisor knows it.

    Attributes:
        name: Such as "node0".
        state: "ready", "starting", "replacing" (its replacement starts), "draining", "drained" or
            "down".
        pid: The process ID; None while it does not run.
        uptime: Seconds since its start; None while it does not run.
        starts: How often it was started.
        last_end: Why and when the process before ended, as a phrase; empty if there was none.
        usage: CPU time and memory.
        cpu: The part of one core that it used in the last second.
        is_broker: Whether it is the broker, and not a node.
    """

    name: str
    state: str
    pid: int | None
    uptime: float | None
    starts: int
    last_end: str = ""
    usage: Usage | None = None
    cpu: float | None = None
    is_broker: bool = False


class ClusterInfo(NamedTuple):
    """What the cluster is.

    Attributes:
        settings: The settings module of the site.
        urls: The addresses that clients connect to.
        capacity: How many connections the descriptors of all nodes allow that are not drained.
        version: The version of c10k.
    """

    settings: str
    urls: Sequence[str]
    capacity: int
    version: str


def status_document(
    info: ClusterInfo,
    state: str,
    reasons: Sequence[str],
    uptime: float,
    processes: Sequence[ProcessState],
    statistics: Mapping[str, Mapping[str, Any] | None],
    topics: Sequence[Mapping[str, Any]],
    history: ClusterHistory,
    events: EventLog,
    monotonic: float,
    now: float,
) -> dict[str, Any]:
    """Return the document.

    Args:
        info: What the cluster is.
        state: "ready", "degraded", "not ready", "restarting" or "stopping".
        reasons: Why it is degraded or not ready, as phrases.
        uptime: Seconds since the start of the supervisor.
        processes: The state of each process.
        statistics: The statistics of each process; None for one that does not answer.
        topics: The busiest topics: ``topic``, ``subscribers``, ``history``.
        history: The samples of the last minutes.
        events: What happened.
        monotonic: The present time of the clock of ``history``.
        now: The present Unix time.
    """
    nodes = [found for found in statistics.values() if found and "connections" in found]

    def total(key: str) -> int:
        return sum(found.get(key, 0) for found in nodes)

    feeds = {
        kind: sum(found.get("feed_clients", {}).get(kind, 0) for found in nodes)
        for kind in ("stream", "poll")
    }
    return {
        "state": state,
        "reasons": list(reasons),
        "now": now,
        "uptime": uptime,
        "settings": info.settings,
        "urls": list(info.urls),
        "version": info.version,
        "python": platform.python_version(),
        "loop": next((each["loop"] for each in nodes if "loop" in each), None),
        "uplink": uplink_of(statistics),
        "connections": {
            "open": total("connections"),
            "capacity": info.capacity,
            **feeds,
            "series": history.series("connections", SPARKLINE_S),
        },
        "messages": {
            "in": history.rate("messages_received"),
            "out": history.rate("messages_sent"),
            "series": history.series("messages_sent", SPARKLINE_S),
        },
        "lost": {
            "seconds": SECONDS,
            "by_reason": history.lost("messages_dropped", monotonic),
            "gaps": history.increase("bus_gaps", monotonic),
        },
        "views": {
            "busy": total("wsgi_threads_busy"),
            "waiting": total("wsgi_queue_depth"),
            "capacity": total("wsgi_queue_capacity"),
            "refused": history.increase("wsgi_refused", monotonic),
        },
        "handshakes": {
            "rate": history.rate("connections_opened"),
            "refused": history.lost("handshakes_refused", monotonic),
        },
        "processes": [_process(each, statistics.get(each.name), history) for each in processes],
        "topics": list(topics),
        "events": [event.as_dict() for event in events.newest(EVENTS)],
    }


def _process(
    state: ProcessState, statistics: Mapping[str, Any] | None, history: ClusterHistory
) -> dict[str, Any]:
    found = statistics or {}
    name = state.name
    row: dict[str, Any] = {
        "name": name,
        "state": state.state,
        "pid": state.pid,
        "uptime": state.uptime,
        "starts": state.starts,
        "last_end": state.last_end,
        "cpu": state.cpu,
        "rss": None if state.usage is None else state.usage.rss_bytes,
    }
    if state.is_broker:
        row |= {
            "kind": "broker",
            "batches": history.rate_of(name, "batches_forwarded"),
            "bytes": history.rate_of(name, "bytes_forwarded"),
            "queue": found.get("queue_bytes"),
        }
    else:
        row |= {
            "kind": "node",
            "connections": found.get("connections"),
            "in": history.rate_of(name, "messages_received"),
            "out": history.rate_of(name, "messages_sent"),
            "queue": found.get("send_queue_bytes"),
            "views_busy": found.get("wsgi_threads_busy"),
            "views_waiting": found.get("wsgi_queue_depth"),
        }
    return row
