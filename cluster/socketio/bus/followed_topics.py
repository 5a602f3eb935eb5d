"""FollowedTopics: the topics that this node follows for the sockets of a server."""

import asyncio
from collections.abc import Callable

from cluster.core.interfaces import Callback, PubSub
from cluster.django.api.in_force import InForce
from cluster.django.api.payloads import as_message, as_public_topic
from cluster.socketio.bus.addresses import room_topic
from cluster.socketio.bus.emits import Emit, event_packet
from cluster.socketio.interfaces import NamespaceRules


class FollowedTopics:
    """Of a server on a node.

    Args:
        pubsub: The topics of the node.
        server: The name of the server.
        token: The token of the process.
        take: Called with each frame, and its offset.
        deliver: Called with the event that a message of a room's public topic becomes.
    """

    def __init__(
        self,
        pubsub: PubSub,
        server: str,
        token: str,
        take: Callable[[bytes, int], None],
        deliver: Callable[[Emit], object],
    ) -> None:
        self.not_in_force: asyncio.Future[None] | None = None
        """What to wait for until messages of all nodes reach every room; None: they do."""
        self.followed: dict[bytes, Callback] = {}
        self._pubsub = pubsub
        self._server = server
        self._take = take
        self._deliver = deliver
        self._in_force = InForce(pubsub.barriers, f"c10k/sio/{token}/")

    def stop(self) -> None:
        """Follow no topic any more."""
        for callback in self.followed.values():
            callback.stop()
        self.followed.clear()

    def follow(self, topic: bytes) -> None:
        """Follow a topic."""
        self.followed[topic] = self._pubsub.follow(topic, self._take, replay=False)
        self._ask_whether_in_force()

    def unfollow(self, topic: bytes) -> None:
        """Do not follow a topic any more."""
        callback = self.followed.pop(topic, None)
        if callback is not None:
            callback.stop()

    def room_begins(self, space: NamespaceRules, room: str) -> None:
        """A room of a namespace has its first socket: follow its topics."""
        self.follow(room_topic(self._server, space.path, room))
        public = space.topic_of(room)
        if public is not None:
            topic = as_public_topic(public)
            self.followed[b"public" + topic] = self._pubsub.follow(
                topic, self._public_taker(space, room), replay=False, for_client=True
            )

    def room_ends(self, space: NamespaceRules, room: str) -> None:
        """A room of a namespace has lost its last socket."""
        self.unfollow(room_topic(self._server, space.path, room))
        public = space.topic_of(room)
        if public is not None:
            self.unfollow(b"public" + as_public_topic(public))

    def _ask_whether_in_force(self) -> None:
        future = self.not_in_force = self._in_force.ask()

        def now_in_force(_: object) -> None:
            if self.not_in_force is future:
                self.not_in_force = None

        future.add_done_callback(now_in_force)

    def _public_taker(self, space: NamespaceRules, room: str) -> Callable[[bytes, int], None]:
        def take(frame: bytes, offset: int) -> None:
            event = space.event_of(room, as_message(frame))
            if event is not None:
                packet = event_packet(space.path, event[0], event[1:])
                self._deliver(Emit(space.path, packet, (room,)))

        return take
