"""RecoverableSocket: how a socket begins, and how it continues one that was disconnected."""

from typing import Any

from cluster.django.api import in_force
from cluster.socketio.recovery.session import ON_NODE
from cluster.socketio.sockets.base_socket import FEW_ROOMS, BaseSocket


class RecoverableSocket(BaseSocket):
    """The inside of a Socket: the server calls it in the thread of the event loop."""

    __slots__ = ()

    def add(self) -> None:
        """The socket is in the namespace from now on, and in the rooms that it continues with."""
        local = self._link.local[self.namespace.path]
        local.add(self, self.receiver)
        recovery = self._link.recovery
        if recovery is None:
            return
        if self.recovery_session is not None:
            rooms = [
                each for each in self.recovery_session.membership.joined if each[:1] != ON_NODE
            ]
            self.joined = tuple(rooms) if len(rooms) <= FEW_ROOMS else set(rooms)
            for room in rooms:
                local.enter(self, room)
        recovery.added(self)

    def recover(self, id: str, data: dict[str, Any]) -> None:
        """Continue an earlier socket with this id and data."""
        self.id = id
        self.recovered = True
        self._data = data

    async def connecting(self) -> None:
        """Wait until events of all nodes reach the socket; with recovery, until they know it."""
        waiting = self._link.topics.not_in_force
        if self._link.recovery is not None:
            waiting = self._link.recovery.changed(self)
        if waiting is not None:
            await in_force.wait(waiting)

    def data_changes(self) -> None:
        """The application may have changed the data in this turn."""
        if self._link.recovery is not None and self.recovery_session is not None:
            self._link.recovery.changed(self, only_if_data=True)

    def go_live(self) -> None:
        """The client receives events of the log as they arrive, from now on."""
        self.receiver = self._client.engine
        self._link.local[self.namespace.path].replace(self, self.receiver)
