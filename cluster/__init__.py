"""c10k: real-time Django by a cluster of Twisted processes.

The packages, from the highest floor to the lowest. Each imports only from lower floors, except
that ``testing`` imports from ``node``, ``asgi``, ``socketio``, ``python_socketio`` and ``channels``
from ``django``, and ``django`` from ``uplink``::

    4  cli          the command lines; what twistd, manage.py and the supervisor start
    3  supervisor   keeps the processes alive and answers operators
       node         the process that serves HTTP and WebSocket
       broker       the process that routes between nodes
       testing      a node in memory, for tests of applications
    2  asgi         ASGI applications and async views, in the event loop of a node
       socketio     Socket.IO servers of the site
       python_socketio   applications of python-socketio on the cluster
       django       what Django developers use
       channels     the channel layer for Channels
       pubsub       topics, barriers and presence of one node, on any bus
       uplink       connects a broker with those of other machines
    1  net          sockets: WebSocket connections, ZeroMQ, the event loop
    0  core         decisions without I/O
       logs         lines of the log, the threads that write them, Python's logging

The names in ``__all__`` are public.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # type checkers and editors do not evaluate __getattr__
    from cluster.core.broker_state.barrier import EVERY_NODE as EVERY_NODE
    from cluster.core.exceptions import BarrierRefused as BarrierRefused
    from cluster.core.exceptions import ClusterError as ClusterError
    from cluster.core.exceptions import ConfigurationError as ConfigurationError
    from cluster.core.exceptions import DatabaseQueueFull as DatabaseQueueFull
    from cluster.core.exceptions import Disconnected as Disconnected
    from cluster.core.exceptions import MessagesLost as MessagesLost
    from cluster.core.exceptions import NotPublished as NotPublished
    from cluster.core.exceptions import NotRunning as NotRunning
    from cluster.core.exceptions import OperationFailed as OperationFailed
    from cluster.core.exceptions import TooSlow as TooSlow
    from cluster.django.api.audiences import publish_to as publish_to
    from cluster.django.api.database_threads import ain_database as ain_database
    from cluster.django.api.publishing import publish as publish
    from cluster.django.api.receipt import Receipt as Receipt
    from cluster.django.api.topic_messages import topic_messages as topic_messages
    from cluster.django.api.topics import abarrier as abarrier
    from cluster.django.api.topics import listen as listen
    from cluster.django.api.topics import members as members
    from cluster.django.api.topics import node_name as node_name
    from cluster.django.contrib.websocket_redis import audience_socket as audience_socket
    from cluster.django.feeds.feed_decorator import feed as feed
    from cluster.django.handlers.handler_decorator import Accept as Accept
    from cluster.django.handlers.handler_decorator import websocket as websocket
    from cluster.django.handlers.websocket import WebSocket as WebSocket
    from cluster.django.operations import operate as operate
    from cluster.django.revocation.revocations import revoke as revoke
    from cluster.net.websocket.frames import binary_frame as binary_frame
    from cluster.net.websocket.frames import text_frame as text_frame

_PUBLIC = {
    "websocket": "cluster.django.handlers.handler_decorator",
    "WebSocket": "cluster.django.handlers.websocket",
    "Accept": "cluster.django.handlers.handler_decorator",
    "ain_database": "cluster.django.api.database_threads",
    "DatabaseQueueFull": "cluster.core.exceptions",
    "revoke": "cluster.django.revocation.revocations",
    "feed": "cluster.django.feeds.feed_decorator",
    "publish": "cluster.django.api.publishing",
    "Receipt": "cluster.django.api.receipt",
    "publish_to": "cluster.django.api.audiences",
    "audience_socket": "cluster.django.contrib.websocket_redis",
    "topic_messages": "cluster.django.api.topic_messages",
    "members": "cluster.django.api.topics",
    "node_name": "cluster.django.api.topics",
    "operate": "cluster.django.operations",
    "listen": "cluster.django.api.topics",
    "abarrier": "cluster.django.api.topics",
    "text_frame": "cluster.net.websocket.frames",
    "binary_frame": "cluster.net.websocket.frames",
    "EVERY_NODE": "cluster.core.broker_state.barrier",
    "BarrierRefused": "cluster.core.exceptions",
    "ClusterError": "cluster.core.exceptions",
    "ConfigurationError": "cluster.core.exceptions",
    "Disconnected": "cluster.core.exceptions",
    "NotPublished": "cluster.core.exceptions",
    "NotRunning": "cluster.core.exceptions",
    "OperationFailed": "cluster.core.exceptions",
    "MessagesLost": "cluster.core.exceptions",
    "TooSlow": "cluster.core.exceptions",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the supervisor and the broker must not import Django."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Include the public names in ``dir(cluster)`` and in interactive completion."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
