"""What a node counts, gathered from its parts for the metrics page.

cluster.supervisor.admin_port says which metric each is. Counts begin with the process; sizes are in
bytes; a dict has a number for each label.
"""

from collections import Counter
from typing import Any


def statistics(node: Any) -> dict[str, Any]:
    """Of a node whose Django is loaded."""
    factory, dispatcher, site, pubsub = (
        node.connection_factory,
        node.dispatcher,
        node.site,
        node.pubsub,
    )
    database, rate = node.database, dispatcher.rate
    refused = Counter(factory.handshakes_refused)
    refused["timeout"] += node.protocol_detection.too_slow
    return {
        "ready": node.is_ready(),
        "connections": len(factory.connections),
        "connections_opened": dispatcher.opened_total,
        "disconnects": dict(dispatcher.disconnects),
        "handshakes_refused": dict(+refused),
        "messages_received": factory.messages_received,
        "messages_sent": factory.messages_sent + node.feeds.messages_sent,
        "messages_dropped": dict(
            pubsub.dropped + pubsub.bus.dropped + factory.dropped + node.feeds.dropped
        ),
        "messages_conflated": pubsub.subscriptions.conflated,
        "send_queue_bytes": sum(connection.queued_bytes for connection in factory.connections),
        "published_externally": node.publish_socket.published,
        "bus_gaps": pubsub.remote_nodes.gaps,
        "bus_queue_bytes": pubsub.queued_bytes,
        "feed_clients": node.feeds.clients,
        "feed_requests": dict(node.feeds.opened),
        "feed_requests_refused": dict(node.feeds.refused),
        "feed_streams_ended": dict(node.feeds.ended),
        "wsgi_queue_depth": site.views.queue_depth,
        "wsgi_refused": site.views.refused,
        "wsgi_threads": len(site.pool.threads),
        "handshakes_deciding": len(dispatcher.deciding),
        "limited": dict(
            dispatcher.occupancy.refused + Counter(message_rate=rate.closed_total if rate else 0)
        ),
        "revoked": node.registry.closed_total,
        "database_queue_depth": database.queue_depth,
        "database_threads": database.threads,
        "database_calls": database.calls,
        "database_wait_seconds": database.waited,
        "database_refused": database.refused,
    }
