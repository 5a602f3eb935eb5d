"""c10k: real-time Django by a cluster of Twisted processes.

From top to bottom; each floor imports only from those below it::

    4  options                      the command line; its parts:
       option_parser, option_values how it is read; what a bus, a settings module … must be
       tap, __main__, development   what it and manage.py start; only they choose a reactor
    3  supervisor                   keeps the processes alive; its parts:
       children, control            the processes, and the connection to each
       slots, heartbeat             each node's sockets; who still answers
       admin                        answers operators
       node, broker, web            the processes' services
       views, figures               Django's views in threads; what a node counts
       mistakes                     why a site does not start, in a line
       publish_socket               a node's door for processes outside that publish
    3  testing                      a node in memory, for the tests of applications
    2  django                       what Django developers touch
       bus                          what carries messages between nodes
    1  net                          sockets, WebSocket frames, ZeroMQ
    0  core                         decisions without I/O

The names below are the public ones.
"""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "websocket": "cluster.django.handlers",
    "WebSocket": "cluster.django.connection",
    "Accept": "cluster.django.handlers",
    "in_database": "cluster.django.database",
    "DatabaseQueueFull": "cluster.core.exceptions",
    "revoke": "cluster.django.revocation",
    "feed": "cluster.django.feeds",
    "publish": "cluster.django.publishing",
    "Receipt": "cluster.core.outside",
    "publish_to": "cluster.django.audiences",
    "audience_socket": "cluster.django.audience_socket",
    "topic_messages": "cluster.django.messages",
    "members": "cluster.django.topics",
    "listen": "cluster.django.topics",
    "barrier": "cluster.django.topics",
    "text_frame": "cluster.net.frames",
    "binary_frame": "cluster.net.frames",
    "EVERY_NODE": "cluster.core.barrier",
    "BarrierRefused": "cluster.core.exceptions",
    "ClusterError": "cluster.core.exceptions",
    "ConfigurationError": "cluster.core.exceptions",
    "Disconnected": "cluster.core.exceptions",
    "NotPublished": "cluster.core.exceptions",
    "NotRunning": "cluster.core.exceptions",
    "TooSlow": "cluster.core.exceptions",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Import public names when they are used: the supervisor and the broker need no Django."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
