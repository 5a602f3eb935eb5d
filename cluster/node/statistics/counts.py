"""Collects the statistics of a node from its parts, for the metrics page.

``cluster.supervisor.metrics`` maps them to metrics. Counts start at 0 in each process; sizes are in
bytes, times in seconds; a dict has a number for each label.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from cluster.net.accepting.socket_limits import descriptor_limit, open_descriptors

if TYPE_CHECKING:  # these modules need Django, which the node loads when it starts
    from cluster.django.revocation.revocable_clients import RevocableClients
    from cluster.node.assembly import HttpParts, WebSocketParts
    from cluster.node.publishing.publications import ExternalPublications


def statistics(
    websockets: WebSocketParts,
    http: HttpParts,
    publications: ExternalPublications,
    revocable_clients: RevocableClients,
) -> dict[str, Any]:
    """Return all statistics of a node except ``ready``."""
    factory, dispatcher, pubsub = (
        websockets.connection_factory,
        websockets.dispatcher,
        websockets.pubsub,
    )
    site, feeds, database = http.site, http.feeds, http.database
    sessions = http.socketio.sessions
    requests = http.async_requests
    refused = Counter(factory.handshakes_refused)
    refused["timeout"] += http.protocol_detection.too_slow
    sockets = websockets.sockets
    limited = dispatcher.occupancy.refused + sockets.refused + site.limited
    limited["message_rate"] = dispatcher.rate.closed_total if dispatcher.rate else 0
    return {
        "connections": len(factory.connections),
        "sockets": sockets.open,
        "descriptors": open_descriptors(),
        "descriptor_limit": descriptor_limit(),
        "shortage": sockets.shortage(),
        "handed_over": dict(http.handover.handed_over),
        "handed_over_received": http.handover.received,
        "handovers_failed": http.handover.failed,
        "handover_tunnels": len(http.handover.tunnels),
        "request_bodies_bytes": site.bodies.bytes,
        "request_body_files": site.bodies.files,
        "connections_opened": dispatcher.opened_total,
        "disconnects": dict(dispatcher.disconnects),
        "handshakes_refused": dict(+refused),
        "messages_received": factory.messages_received,
        "messages_sent": factory.messages_sent + feeds.messages_sent,
        "messages_dropped": dict(
            pubsub.dropped + pubsub.bus.dropped + factory.dropped + feeds.dropped + sessions.dropped
        ),
        "messages_conflated": pubsub.subscriptions.conflated,
        "send_queue_bytes": sum(connection.queued_bytes for connection in factory.connections),
        "published_externally": publications.published,
        "bus_gaps": pubsub.batches.gaps,
        "bus_queue_bytes": pubsub.queued_bytes,
        "feed_clients": feeds.clients,
        "feed_requests": dict(feeds.opened),
        "feed_requests_refused": dict(feeds.refused),
        "feed_streams_ended": dict(feeds.ended),
        "socketio_clients": sessions.open_by_transport,
        "socketio_sessions": dict(sessions.opened),
        "socketio_upgrades": sessions.upgraded,
        "socketio_refused": dict(sessions.refused),
        "socketio_closed": dict(sessions.closed),
        "loop": loop_name(),
        "wsgi_queue_depth": site.views.queue_depth,
        "wsgi_threads_busy": site.views.busy,
        "wsgi_queue_capacity": site.views.queue_capacity,
        "wsgi_refused": site.views.refused,
        "wsgi_threads": len(site.pool.threads),
        "requests": {"sync": site.views.served, **requests.served},
        "async_requests": requests.active,
        "async_requests_refused": requests.refused,
        "async_requests_left": requests.left,
        "async_threads": len(requests.threads),
        "handshakes_deciding": len(dispatcher.deciding),
        "limited": dict(+limited),
        "revoked": revocable_clients.closed_total,
        "expired": dict(websockets.expiry.expired),
        "database_queue_depth": database.queue_depth,
        "database_threads": database.threads,
        "database_calls": database.calls,
        "database_wait_seconds": database.waited,
        "database_refused": database.refused,
    }


def loop_name() -> str:
    """The library of the event loop that runs: "uvloop" or "asyncio"."""
    try:
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]
    except RuntimeError:  # in a test, without a loop
        return "none"
