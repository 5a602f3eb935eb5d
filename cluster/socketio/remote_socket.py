"""RemoteSocket: a socket of any node, as ``fetch_sockets`` describes it."""

from collections.abc import Sequence
from typing import Any

from cluster.socketio.operators import Place, SocketOperator
from cluster.socketio.receipts import EmitReceipt


class RemoteSocket(SocketOperator):
    """A socket of any node. You do not create one yourself: ``fetch_sockets`` returns them.

    ``emit``, ``send``, ``call``, ``volatile`` and ``timeout`` send to it.

    Attributes:
        id: The id of the socket.
        rooms: The rooms that it was in, its own id among them.
        data: Its data, as JSON; empty if it is not JSON.
        user_key: The primary key of its user, as text; None for guests.
        address: The address of its client.
    """

    __slots__ = ("address", "data", "id", "rooms", "user_key")

    def __init__(self, place: Place, described: dict[str, Any]) -> None:
        self.id: str = described["id"]
        self.rooms = frozenset(described["rooms"])
        self.data: dict[str, Any] = described["data"]
        self.user_key: str | None = described["user"]
        self.address: str = described["address"]
        super().__init__(place, (self.id,))

    def __repr__(self) -> str:
        return f"<RemoteSocket {self.id}>"

    def enter_room(self, room: str | Sequence[str]) -> EmitReceipt:
        """Make the socket enter a room, or several.

        Args:
            room: The name of the room, or a list of names.

        Returns:
            The receipt.
        """
        return self.sockets_join(room)

    def leave_room(self, room: str | Sequence[str]) -> EmitReceipt:
        """Make the socket leave a room, or several.

        Args:
            room: The name of the room, or a list of names.

        Returns:
            The receipt.
        """
        return self.sockets_leave(room)

    def disconnect(self, close: bool = False) -> EmitReceipt:
        """Disconnect the socket from the namespace.

        Args:
            close: Whether to close its client, with all its namespaces.

        Returns:
            The receipt.
        """
        return self.disconnect_sockets(close)
