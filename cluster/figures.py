"""What a node counts, gathered from its parts for the metrics page.

cluster.admin says which metric each is. Counts begin with the process; sizes are in bytes; a dict
has a figure for each label.
"""

from collections import Counter
from typing import Any


def figures(node: Any) -> dict[str, Any]:
    """Of a node whose Django is loaded."""
    lanes, serving, site, pubsub = node.lanes, node.serving, node.site, node.pubsub
    database, rate = node.database, serving.rate
    refused = Counter(lanes.handshakes_refused)
    refused["timeout"] += node.front.too_slow
    return {
        "ready": node.is_ready(),
        "connections": len(lanes.lanes),
        "connections_opened": serving.opened_total,
        "disconnects": dict(serving.disconnects),
        "handshakes_refused": dict(+refused),
        "messages_received": lanes.messages_received,
        "messages_sent": lanes.messages_sent + node.feeds.messages_sent,
        "messages_dropped": dict(
            pubsub.dropped + pubsub.bus.dropped + lanes.dropped + node.feeds.dropped
        ),
        "messages_conflated": pubsub.subscriptions.conflated,
        "send_queue_bytes": sum(lane.queued_bytes for lane in lanes.lanes),
        "published_outside": node.outside.published,
        "bus_gaps": pubsub.peers.gaps,
        "bus_queue_bytes": pubsub.queued_bytes,
        "feed_clients": node.feeds.clients,
        "feed_requests": dict(node.feeds.opened),
        "feed_requests_refused": dict(node.feeds.refused),
        "feed_streams_ended": dict(node.feeds.ended),
        "wsgi_queue_depth": site.views.queue_depth,
        "wsgi_refused": site.views.refused,
        "wsgi_threads": len(site.pool.threads),
        "handshakes_deciding": len(serving.deciding),
        "limited": dict(
            serving.occupancy.refused + Counter(message_rate=rate.closed_total if rate else 0)
        ),
        "revoked": node.registry.closed_total,
        "database_queue_depth": database.queue_depth,
        "database_threads": database.threads,
        "database_calls": database.calls,
        "database_wait_seconds": database.waited,
        "database_refused": database.refused,
    }
