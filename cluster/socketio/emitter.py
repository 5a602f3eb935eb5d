"""Emitter and emit: events for Socket.IO clients from views, tasks and any other process."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from django.conf import settings

from cluster.socketio.bus.addresses import checked_name, checked_namespace
from cluster.socketio.bus.node_link import NodeLink
from cluster.socketio.interfaces import servers
from cluster.socketio.operators import BroadcastOperator
from cluster.socketio.receipts import EmitReceipt
from cluster.socketio.recovery.options import RecoveryOptions

MAIN = "main"
"""The name of a server that has no other."""


class Emitter(BroadcastOperator):
    """Emits to the clients of a server, from any thread of any process with the site's settings.

    ::

        Emitter("/admin").to("moderators").emit("report", {"id": report.pk})

    Args:
        namespace: The name of the namespace.
        server: The name of the server.

    Raises:
        ValueError: A name is wrong.
    """

    __slots__ = ("path", "server_name")

    def __init__(self, namespace: str = "/", server: str = MAIN) -> None:
        self.path = checked_namespace(namespace)
        self.server_name = checked_name(server)
        super().__init__(self)

    @property
    def recovery(self) -> RecoveryOptions | None:
        """The options of a server with recovery. Only the server in the URLconf knows them."""
        server = servers.get(self.server_name)
        if server is None:
            import_module(settings.ROOT_URLCONF)
            server = servers.get(self.server_name)
        found: RecoveryOptions | None = None if server is None else server.recovery
        return found

    def link(self) -> NodeLink | None:
        """The server on the node of this process; None if there is none."""
        server = servers.get(self.server_name)
        if server is None or self.path not in server.namespaces:
            return None
        link: NodeLink | None = server.link()
        return link


def emit(
    event: str,
    *args: Any,
    to: str | Sequence[str] = (),
    except_: str | Sequence[str] = (),
    namespace: str = "/",
    server: str = MAIN,
    immediate: bool = False,
    using: str | None = None,
) -> EmitReceipt:
    """Send an event to Socket.IO clients, on every node.

    Call it from any thread of any process that has the site's settings. Inside a database
    transaction the event is sent after the commit, and not at all after a rollback.

    Args:
        event: The name of the event.
        *args: What Django's JSON encoder accepts, with bytes at any depth.
        to: A room, the id of a socket, or a list of them, in place of all sockets.
        except_: A room, the id of a socket, or a list of them, that do not receive it.
        namespace: The name of the namespace.
        server: The name of the server, if the site has several.
        immediate: Send now, even inside a transaction.
        using: The alias of the database whose transaction counts; the default one without it.

    Returns:
        The receipt: how many nodes have receivers. It is pending until the transaction commits.

    Raises:
        TypeError: An argument cannot be encoded, or a room is not text.
        ValueError: The event is reserved by Socket.IO, a name is wrong, or an argument has a NaN.
        NotRunning: No cluster is running, and the setting is ``"error"``.
        NotPublished: The node refused the event, or did not answer.
        ConfigurationError: Several clusters of this project are running, or one of another version.
    """
    emitter: BroadcastOperator = Emitter(namespace, server)
    if to:
        emitter = emitter.to(to)
    if except_:
        emitter = emitter.except_(except_)
    return emitter.emit(event, *args, immediate=immediate, using=using)
