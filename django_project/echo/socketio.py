"""The Socket.IO server of load tests: /test/socket.io/.

"join" enters a room, "echo" is acknowledged with its arguments, and "publish" sends "message" with
a text to a room.
"""

from typing import Any

from cluster.socketio import Namespace, Socket, SocketIO


class LoadTest(Namespace):
    """What `swarm socketio` needs."""

    async def on_join(self, socket: Socket, room: str) -> None:
        await socket.enter_room(room)

    async def on_echo(self, socket: Socket, *values: Any) -> Any:
        return values

    async def on_publish(self, socket: Socket, text: str, room: str) -> None:
        self.to(room).emit("message", text)

    def topic_of(self, room: str) -> None:
        """No room has a public topic."""


server = SocketIO({"/": LoadTest}, name="load-test", recovery=120)
