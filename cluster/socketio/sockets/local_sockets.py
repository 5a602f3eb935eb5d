"""LocalSockets: the sockets of one namespace on this node, and their rooms.

A room maps each socket to what receives its packets: its Engine.IO client, or what holds packets
while the socket is not connected yet.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from cluster.socketio.bus.addresses import is_socket_id
from cluster.socketio.engine.fan_out import send_to_all
from cluster.socketio.engine.out_packet import OutPacket
from cluster.socketio.interfaces import LocalSocket, Receiver

Members = dict[LocalSocket, Receiver]

NOBODY: Mapping[LocalSocket, Receiver] = {}


class LocalSockets:
    """Of one namespace.

    Args:
        room_begins: Called with the name of a room that has its first member.
        room_ends: Called with the name of a room that has lost its last member.
        begins: Called when the namespace has its first socket.
        ends: Called when it has lost its last one.
    """

    def __init__(
        self,
        room_begins: Callable[[str], None],
        room_ends: Callable[[str], None],
        begins: Callable[[], None],
        ends: Callable[[], None],
    ) -> None:
        self.by_id: dict[str, LocalSocket] = {}
        self.all: Members = {}
        self.rooms: dict[str, Members] = {}
        self._room_begins = room_begins
        self._room_ends = room_ends
        self._begins = begins
        self._ends = ends

    def add(self, socket: LocalSocket, receiver: Receiver) -> None:
        """Add a socket to the namespace."""
        self.by_id[socket.id] = socket
        self.all[socket] = receiver
        if len(self.all) == 1:
            self._begins()

    def replace(self, socket: LocalSocket, receiver: Receiver) -> None:
        """The packets of a socket go to another receiver from now on."""
        if socket in self.all:
            self.all[socket] = receiver
            for room in socket.joined:
                self.rooms[room][socket] = receiver

    def remove(self, socket: LocalSocket) -> None:
        """Remove a socket from the namespace and its rooms; its own set of rooms stays."""
        if self.all.pop(socket, None) is not None:
            del self.by_id[socket.id]
            for room in socket.joined:
                self._remove_from(room, socket)
            if not self.all:
                self._ends()

    def enter(self, socket: LocalSocket, room: str) -> None:
        """Add a socket to a room."""
        receiver = self.all.get(socket)
        if receiver is None:
            return
        members = self.rooms.get(room)
        if members is None:
            self.rooms[room] = {socket: receiver}
            self._room_begins(room)
        else:
            members[socket] = receiver

    def leave(self, socket: LocalSocket, room: str) -> None:
        """Remove a socket from a room."""
        if socket in self.all:
            self._remove_from(room, socket)

    def _remove_from(self, room: str, socket: LocalSocket) -> None:
        members = self.rooms.get(room)
        if members is not None and members.pop(socket, None) is not None and not members:
            del self.rooms[room]
            self._room_ends(room)

    def members(self, room: str) -> Mapping[LocalSocket, Receiver]:
        """The members of a room, or the socket with this id."""
        members = self.rooms.get(room)
        if members is not None:
            return members
        if is_socket_id(room):
            socket = self.by_id.get(room)
            if socket is not None:
                return {socket: self.all[socket]}
        return NOBODY

    def select(
        self, rooms: Sequence[str], skipped: Collection[str]
    ) -> Mapping[LocalSocket, Receiver]:
        """The receivers of an emit: each once, even if it is in several of the rooms."""
        if not rooms:
            found: Mapping[LocalSocket, Receiver] = self.all
        elif len(rooms) == 1:
            found = self.members(rooms[0])
        else:
            found = {}
            for room in rooms:
                found.update(self.members(room))
        if skipped and found:
            without = set(self._of(skipped))
            if without:
                return {
                    socket: receiver for socket, receiver in found.items() if socket not in without
                }
        return found

    def _of(self, names: Collection[str]) -> Iterable[LocalSocket]:
        for name in names:
            yield from self.members(name)

    def deliver(
        self,
        packet: OutPacket,
        rooms: Sequence[str] = (),
        skipped: Collection[str] = (),
        is_volatile: bool = False,
    ) -> int:
        """Queue a packet to the receivers; returns how many there are.

        This is where every event that goes to sockets of this node arrives, whether it was emitted
        here or on another node.
        """
        found = self.select(rooms, skipped)
        if is_volatile:
            return sum(receiver.send_volatile(packet) for receiver in tuple(found.values()))
        if found:
            send_to_all(tuple(found.values()), packet)  # a client may be closed meanwhile
        return len(found)
