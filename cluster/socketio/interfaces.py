"""Protocols: what the modules of a server need of each other, so that none imports those above it.

From the lowest: the bus (NodeLink), operators, Socket, Client, Namespace, SocketIO.
"""

from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Protocol
from weakref import WeakValueDictionary

from cluster.django.api.payloads import Payload
from cluster.socketio.engine.client import EngineClient
from cluster.socketio.engine.out_packet import OutPacket
from cluster.socketio.handlers import Handler, Handlers
from cluster.socketio.limits import Limits
from cluster.socketio.recovery.options import RecoveryOptions

Acknowledged = Callable[[Sequence[Any] | None], None]
"""Called once with the arguments of a client's acknowledgement; with None if the client is gone."""


class Receiver(Protocol):
    """What receives the packets of a socket: an EngineClient, HeldPackets or Gone."""

    def send(self, packet: OutPacket) -> None:
        """Queue a packet."""

    def send_volatile(self, packet: OutPacket) -> bool:
        """Queue a packet, unless the client is not writable now; returns whether it was queued."""


class LocalSocket(Protocol):
    """A socket of this node, for the bus. It is hashable by identity."""

    @property
    def id(self) -> str: ...

    @property
    def joined(self) -> Collection[str]:
        """Its rooms, without its own id."""

    def __hash__(self) -> int: ...

    def expect(self, number: int, done: Acknowledged) -> bool:
        """Call ``done`` when the client acknowledges the event with this id; False if too many
        wait."""

    def describe(self) -> dict[str, Any]:
        """What ``fetch_sockets`` of other nodes see."""

    def enter_here(self, room: str) -> bool:
        """Enter a room; False if it is in too many."""

    def leave_here(self, room: str) -> None:
        """Leave a room."""

    def disconnect_here(self, close: bool, reason: str) -> None:
        """Disconnect the client."""


class NamespaceRules(Protocol):
    """A namespace, for the bus."""

    @property
    def path(self) -> str: ...

    def topic_of(self, room: str) -> str | None:
        """The public topic of a room."""

    def event_of(self, room: str, message: Payload) -> Sequence[Any] | None:
        """The event that a message of the public topic becomes."""

    def server_event(self, event: str, arguments: Sequence[Any]) -> Coroutine[Any, Any, Any]:
        """Call the handler of an event of another server."""


class AnyNamespace(NamespaceRules, Protocol):
    """A namespace, for the sockets in it."""

    @property
    def handlers(self) -> Handlers: ...

    @property
    def all_checks(self) -> Sequence[Handler]: ...

    @property
    def limits(self) -> Limits: ...


class AnyServer(Protocol):
    """A server, for its clients and namespaces."""

    name: str
    checks: tuple[Callable[..., Any], ...]
    limits: Limits
    max_handlers: int
    low_water: int

    recovery: RecoveryOptions | None

    @property
    def namespaces(self) -> Mapping[str, AnyNamespace]: ...

    def link(self) -> Any:
        """The NodeLink of this process; None if it is not a node."""

    def no_deadline(self, client: Any) -> None:
        """The client has connected to a namespace, or is gone."""


class AnyClient(Protocol):
    """The client of a socket."""

    @property
    def engine(self) -> EngineClient: ...

    @property
    def address(self) -> str: ...

    def is_full(self) -> bool:
        """Whether the client does not read fast enough."""

    def disconnect(self, socket: Any, close: bool, reason: str) -> None:
        """Disconnect the client from the namespace of a socket, or close it."""

    def handler_waits(self) -> None:
        """A handler waits for an acknowledgement, and does not count meanwhile."""

    def handler_resumes(self) -> None:
        """The handler has its acknowledgement."""


servers: "WeakValueDictionary[str, Any]" = WeakValueDictionary()
"""The servers of this process by their names: SocketIO objects."""
