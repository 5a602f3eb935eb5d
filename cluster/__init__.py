"""c10k: real-time Django by a cluster of Twisted processes.

From top to bottom; each floor imports only from those below it::

    4  options, option_values       the command line
       tap, __main__                what it starts; the only places that choose a reactor
    3  supervisor                   keeps the processes alive; its parts:
       children, control            the processes, and the connection to each
       slots, heartbeat             each node's sockets; who still answers
       admin, runtime_dir           answers operators; where its own sockets are
       node, broker, web            the processes' services
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
    "publish": "cluster.django.topics",
    "listen": "cluster.django.topics",
    "barrier": "cluster.django.topics",
    "text_frame": "cluster.net.frames",
    "binary_frame": "cluster.net.frames",
    "EVERY_NODE": "cluster.core.barrier",
    "BarrierRefused": "cluster.core.exceptions",
    "ClusterError": "cluster.core.exceptions",
    "ConfigurationError": "cluster.core.exceptions",
    "Disconnected": "cluster.core.exceptions",
    "NotRunning": "cluster.core.exceptions",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Import public names when they are used: the supervisor and the broker need no Django."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
