"""NodeLink: the sockets of a server on this node, and the bus.

It publishes for this node's sockets and namespaces, and acts upon the envelopes of other processes.
Call all methods in the thread of the node's event loop.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.core.exceptions import WireError
from cluster.core.interfaces import Node
from cluster.django.api import in_force
from cluster.django.api.payloads import Payload, as_message
from cluster.django.api.publication import Publication
from cluster.logs.rate_limit import LimitedLog
from cluster.socketio.bus import envelopes
from cluster.socketio.bus.addresses import (
    is_socket_id,
    namespace_topic,
    new_token,
    process_topic,
    server_topic,
    token_of,
)
from cluster.socketio.bus.answers import Answers
from cluster.socketio.bus.emits import Emit, emit_of, publication, publication_of, with_id
from cluster.socketio.bus.envelopes import Envelope, decode_envelope, sender_of
from cluster.socketio.bus.followed_topics import FollowedTopics
from cluster.socketio.bus.gatherings import Gatherings
from cluster.socketio.bus.values import decode_value
from cluster.socketio.engine.fan_out import send_to_all
from cluster.socketio.interfaces import Acknowledged, NamespaceRules
from cluster.socketio.recovery.node_recovery import NodeRecovery
from cluster.socketio.recovery.options import RecoveryOptions
from cluster.socketio.sockets.local_sockets import LocalSockets

_log = Logger()
_log_dropped = LimitedLog(_log.warn, "Socket.IO messages dropped")


class NodeLink:
    """A server on a node.

    Args:
        node: The node.
        name: The name of the server.
        namespaces: The namespaces by their names.
        recovery: The options of a server with recovery.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        namespaces: Mapping[str, NamespaceRules],
        recovery: RecoveryOptions | None = None,
    ) -> None:
        self.node = node
        self.name = name
        self.pubsub = node.pubsub
        self.loop = asyncio.get_running_loop()
        self.token = new_token()
        self.gatherings = Gatherings()
        self.topics = FollowedTopics(self.pubsub, name, self.token, self._take, self.deliver)
        self._answers = Answers(self, namespaces)
        self.answer = self._answers.send
        self._server_topic = server_topic(name)  # the server listens to it
        self._last_id = 0
        self._tasks: set[asyncio.Future[Any]] = set()
        self.local = {
            namespace: LocalSockets(
                room_begins=partial(self.topics.room_begins, space),
                room_ends=partial(self.topics.room_ends, space),
                begins=partial(self.topics.follow, namespace_topic(name, namespace)),
                ends=partial(self.topics.unfollow, namespace_topic(name, namespace)),
            )
            for namespace, space in namespaces.items()
        }
        self.topics.follow(process_topic(name, self.token))
        self._is_ready = self.topics.not_in_force
        """What to wait for until the answers of all nodes arrive; None: they do."""
        self.recovery = None if recovery is None else NodeRecovery(self, recovery)

    def stop(self) -> None:
        """This is not the node of the process any more."""
        self.topics.stop()
        if self.recovery is not None:
            self.recovery.stop()

    # Emits.

    def emit(self, emit: Emit, is_local: bool = False) -> tuple[int, int]:
        """Queue an event to its sockets on all nodes; returns (nodes, sockets of this node).

        Raises:
            NotPublished: With recovery, too much waits for the exchange.
        """
        if self.recovery is not None and not emit.is_volatile:
            return self.recovery.emit(emit, is_local)
        here = self.deliver(emit)
        if is_local or self._is_for_this_process(emit):
            return int(here > 0), here
        others = self.publish(publication_of(self.name, emit, self.token, None, self.options))
        return others + (here > 0), here

    def deliver(self, emit: Emit) -> int:
        """Queue an event, which is not of a log, to its sockets on this node; returns their
        number."""
        namespace, packet, rooms, skipped, is_volatile = emit
        if self.recovery is not None:
            packet = self.recovery.logs[namespace].stamped(packet)
        return self.local[namespace].deliver(packet, rooms, skipped, is_volatile)

    def publish(self, sent: Publication) -> int:
        """Publish an envelope of this process; returns how many other nodes subscribe."""
        nodes, _ = self.pubsub.publish(sent.topic, sent.frame)
        return nodes - (sent.topic in self.topics.followed or sent.topic == self._server_topic)

    @property
    def options(self) -> RecoveryOptions | None:
        """The options of a server with recovery."""
        return None if self.recovery is None else self.recovery.options

    def _is_for_this_process(self, emit: Emit) -> bool:
        # With recovery a socket may be on another node than the one that its id names.
        return bool(emit.rooms and self.recovery is None) and all(
            is_socket_id(room) and token_of(room) == self.token for room in emit.rooms
        )

    # Calls: events that sockets acknowledge.

    async def call(self, emit: Emit, timeout: float, is_local: bool = False) -> tuple[Any, bool]:
        """Send an event, and wait for the acknowledgements of its sockets on all nodes.

        Returns:
            A list of their arguments, and whether all sockets have answered.
        """
        await self._ready()
        number, gathering = self.gatherings.begin()

        def done(arguments: Any) -> None:
            if arguments is None:
                gathering.miss()
            else:
                gathering.answer(arguments)

        try:
            if not is_local and not self._is_for_this_process(emit):
                sent = publication_of(self.name, emit, self.token, number, self.options)
                gathering.more_nodes(self.publish(self._for_answer(sent)))
            gathering.expect(self.call_here(emit, done))
            return await gathering.wait(timeout)
        finally:
            self.gatherings.end(number)

    def _for_answer(self, sent: Publication) -> Publication:
        """A publication that each node which is counted as a receiver answers.

        A node whose last socket leaves a room follows the topic of the room no more, before the
        other nodes know it. So what is answered goes to the topic that every node follows.
        """
        if sent.topic.startswith(process_topic(self.name, "")):
            return sent
        return sent._replace(topic=self._server_topic)

    async def _ready(self) -> None:
        """Wait until the answers of all nodes arrive."""
        if self._is_ready is not None:
            await in_force.wait(self._is_ready)
            self._is_ready = None

    def call_here(self, emit: Emit, done: Acknowledged) -> int:
        """Send an event to its sockets on this node, ``done`` receives each acknowledgement.

        Returns:
            The number of sockets.
        """
        number = self.next_id()
        found = self.local[emit.namespace].select(emit.rooms, emit.skipped)
        receivers = [receiver for socket, receiver in found.items() if socket.expect(number, done)]
        if receivers:
            send_to_all(receivers, with_id(emit.packet, emit.namespace, number))
        return len(receivers)

    def next_id(self) -> int:
        """The id of the next event that sockets of this node acknowledge."""
        self._last_id += 1
        return self._last_id

    # Requests to the other nodes.

    def request(self, topic: bytes, envelope: Envelope) -> int:
        """Send an envelope of this process; returns how many other nodes subscribe."""
        return self.publish(publication(topic, envelope._replace(sender=self.token)))

    async def ask(self, topic: bytes, envelope: Envelope, timeout: float) -> tuple[list[Any], bool]:
        """Ask the other nodes.

        Returns:
            Their answers, and whether they are all.
        """
        await self._ready()
        number, gathering = self.gatherings.begin()
        try:
            gathering.more_nodes(self.request(topic, envelope._replace(request=number)))
            gathering.expect(0)
            return await gathering.wait(timeout)
        finally:
            self.gatherings.end(number)

    # What arrives.

    def _take(self, frame: bytes, offset: int) -> None:
        self.take(as_message(frame))

    def take(self, data: Payload) -> None:
        """An envelope has arrived."""
        if not isinstance(data, bytes):
            self.count("malformed", "it is not binary")
            return
        try:
            if sender_of(data) == self.token:
                return
            self.receive(decode_envelope(data))
        except (WireError, ValueError, IndexError) as error:
            self.count("malformed", str(error))

    def receive(self, envelope: Envelope) -> None:
        """Act upon an envelope of another process."""
        kind = envelope.kind
        if self.recovery is not None and self.recovery.receive(envelope):
            return
        local = self.local.get(envelope.namespace)
        if local is None:
            return  # a process of another version of the site has the namespace
        if kind == envelopes.EMIT:
            self.deliver(emit_of(envelope))
        elif kind == envelopes.CALL:
            self._answers.call(envelope)
        elif kind == envelopes.EXPECT:
            gathering = self.gatherings.get(envelope.request)
            if gathering is not None:
                gathering.expect(int(envelope.parts[0]))
        elif kind == envelopes.ANSWER:
            gathering = self.gatherings.get(envelope.request)
            if gathering is not None:
                if envelope.flags & envelopes.MISSING:
                    gathering.miss()
                else:
                    gathering.answer(decode_value(envelope.parts))
        elif kind == envelopes.FETCH:
            found = [socket.describe() for socket in local.select(envelope.rooms, envelope.skipped)]
            self.answer(envelope, found)
        elif kind == envelopes.SERVER_EVENT:
            self._answers.server_event(envelope)
        else:
            self.act(envelope)

    def act(self, envelope: Envelope) -> None:
        """Do what ENTER, LEAVE and DISCONNECT ask for, with the sockets of this node."""
        local = self.local[envelope.namespace]
        names = [part.decode() for part in envelope.parts]
        for socket in tuple(local.select(envelope.rooms, envelope.skipped)):
            if envelope.kind == envelopes.DISCONNECT:
                socket.disconnect_here(bool(envelope.flags & envelopes.CLOSE), names[0])
            else:
                for room in names:
                    if envelope.kind == envelopes.ENTER:
                        socket.enter_here(room)
                    else:
                        socket.leave_here(room)

    def run(
        self,
        coroutine: Any,
        done: Callable[[Any], None] = lambda result: None,
        is_logged: bool = False,
    ) -> None:
        """Run a coroutine in a task.

        Args:
            coroutine: The coroutine.
            done: Receives its result, unless it fails.
            is_logged: Whether it logs its errors itself.
        """
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)

        def ended(task: "asyncio.Future[Any]") -> None:
            self._tasks.discard(task)
            if task.cancelled():
                return
            error = task.exception()
            if error is None:
                done(task.result())
            elif not is_logged:
                _log.failure("a task of a Socket.IO server failed", Failure(error))

        task.add_done_callback(ended)

    def count(self, reason: str, why: str) -> None:
        """Count something that is refused or dropped, and log it, at a limited rate."""
        self.pubsub.dropped[reason] += 1
        _log_dropped(reason, "a Socket.IO server dropped a message: {why}", why=why)
