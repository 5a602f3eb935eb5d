"""NodeLink: the sockets of a server on this node, and its topics.

It publishes for this node's sockets and namespaces, and acts upon the envelopes of other processes.
Call all methods in the thread of the node's event loop.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.logger import Logger

from cluster.core.exceptions import WireError
from cluster.core.interfaces import Callback, Node
from cluster.django.api import in_force
from cluster.django.api.in_force import InForce
from cluster.django.api.payloads import Payload, as_message, as_public_topic
from cluster.django.api.publication import Publication
from cluster.logs.rate_limit import LimitedLog
from cluster.socketio.bus import envelopes
from cluster.socketio.bus.addresses import (
    is_socket_id,
    namespace_topic,
    new_token,
    process_topic,
    room_topic,
    server_topic,
    token_of,
)
from cluster.socketio.bus.emits import (
    Emit,
    emit_of,
    event_packet,
    publication,
    publication_of,
    with_id,
)
from cluster.socketio.bus.envelopes import Envelope, decode_envelope, sender_of
from cluster.socketio.bus.gatherings import Gatherings
from cluster.socketio.bus.values import decode_value, encode_value
from cluster.socketio.engine.fan_out import send_to_all
from cluster.socketio.interfaces import Acknowledged, NamespaceRules
from cluster.socketio.recovery.node_recovery import NodeRecovery
from cluster.socketio.recovery.options import RecoveryOptions
from cluster.socketio.sockets.local_sockets import LocalSockets

MISSING = 8
"""Flag of ANSWER: the client is gone, and does not answer."""

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
        self.not_in_force: asyncio.Future[None] | None = None
        """What to wait for until messages of all nodes reach every room; None: they do."""
        self._namespaces = namespaces
        self._in_force = InForce(node.pubsub.barriers, f"c10k/sio/{self.token}/")
        self._followed: dict[bytes, Callback] = {}
        self._server_topic = server_topic(name)  # the server listens to it
        self._last_id = 0
        self._tasks: set[asyncio.Future[Any]] = set()
        self.local = {
            namespace: LocalSockets(
                room_begins=partial(self._room_begins, space),
                room_ends=partial(self._room_ends, space),
                begins=partial(self._follow, namespace_topic(name, namespace)),
                ends=partial(self._unfollow, namespace_topic(name, namespace)),
            )
            for namespace, space in namespaces.items()
        }
        self._follow(process_topic(name, self.token))
        self._is_ready = self.not_in_force
        """What to wait for until the answers of all nodes arrive; None: they do."""
        self.recovery = None if recovery is None else NodeRecovery(self, recovery)

    def stop(self) -> None:
        """This is not the node of the process any more."""
        for callback in self._followed.values():
            callback.stop()
        self._followed.clear()
        if self.recovery is not None:
            self.recovery.stop()

    # Topics.

    def _follow(self, topic: bytes) -> None:
        self._followed[topic] = self.pubsub.follow(topic, self._take, replay=False)
        self._ask_whether_in_force()

    def _unfollow(self, topic: bytes) -> None:
        callback = self._followed.pop(topic, None)
        if callback is not None:
            callback.stop()

    def _room_begins(self, space: NamespaceRules, room: str) -> None:
        self._follow(room_topic(self.name, space.path, room))
        public = space.topic_of(room)
        if public is not None:
            topic = as_public_topic(public)
            self._followed[b"public" + topic] = self.pubsub.follow(
                topic, self._public_taker(space, room), replay=False, for_client=True
            )

    def _room_ends(self, space: NamespaceRules, room: str) -> None:
        self._unfollow(room_topic(self.name, space.path, room))
        public = space.topic_of(room)
        if public is not None:
            self._unfollow(b"public" + as_public_topic(public))

    def _ask_whether_in_force(self) -> None:
        future = self.not_in_force = self._in_force.ask()

        def now_in_force(_: object) -> None:
            if self.not_in_force is future:
                self.not_in_force = None

        future.add_done_callback(now_in_force)

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
        return nodes - (sent.topic in self._followed or sent.topic == self._server_topic)

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

    def _answer(self, question: Envelope, kind: int, parts: Any, flags: int = 0) -> None:
        topic = process_topic(self.name, question.sender)
        answer = Envelope(
            kind, question.namespace, parts=parts, flags=flags, request=question.request
        )
        self.request(topic, answer)

    def answer(self, question: Envelope, value: Any) -> None:
        """Answer a question of another process, with one value."""
        self._answer(question, envelopes.EXPECT, (b"1",))
        self._answer(question, envelopes.ANSWER, encode_value(value))

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
            self._receive_call(envelope)
        elif kind == envelopes.EXPECT:
            gathering = self.gatherings.get(envelope.request)
            if gathering is not None:
                gathering.expect(int(envelope.parts[0]))
        elif kind == envelopes.ANSWER:
            gathering = self.gatherings.get(envelope.request)
            if gathering is not None:
                if envelope.flags & MISSING:
                    gathering.miss()
                else:
                    gathering.answer(decode_value(envelope.parts))
        elif kind == envelopes.FETCH:
            found = [socket.describe() for socket in local.select(envelope.rooms, envelope.skipped)]
            self.answer(envelope, found)
        elif kind == envelopes.SERVER_EVENT:
            self._receive_server_event(envelope)
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

    def _receive_call(self, envelope: Envelope) -> None:
        def done(arguments: Any) -> None:
            if arguments is None:
                self._answer(envelope, envelopes.ANSWER, (), MISSING)
            else:
                self._answer(envelope, envelopes.ANSWER, encode_value(arguments))

        count = self.call_here(emit_of(envelope), done)
        self._answer(envelope, envelopes.EXPECT, (str(count).encode(),))

    def _receive_server_event(self, envelope: Envelope) -> None:
        event, *arguments = decode_value(envelope.parts)
        space = self._namespaces[envelope.namespace]
        answering = space.server_event(event, arguments)
        if not envelope.flags & envelopes.ANSWERS:
            self.run(answering)
            return
        self._answer(envelope, envelopes.EXPECT, (b"1",))

        def done(result: Any) -> None:
            try:
                self._answer(envelope, envelopes.ANSWER, encode_value(result))
            except (TypeError, ValueError):
                _log.failure("the answer to a Socket.IO server's event {event!r}", event=event)

        self.run(answering, done)

    def run(self, coroutine: Any, done: Callable[[Any], None] = lambda result: None) -> None:
        """Run a coroutine in a task; ``done`` receives its result, unless it fails."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)

        def ended(task: "asyncio.Future[Any]") -> None:
            self._tasks.discard(task)
            if not task.cancelled() and task.exception() is None:
                done(task.result())

        task.add_done_callback(ended)

    def _public_taker(self, space: NamespaceRules, room: str) -> Callable[[bytes, int], None]:
        def take(frame: bytes, offset: int) -> None:
            event = space.event_of(room, as_message(frame))
            if event is not None:
                packet = event_packet(space.path, event[0], event[1:])
                self.deliver(Emit(space.path, packet, (room,)))

        return take

    def count(self, reason: str, why: str) -> None:
        """Count something that is refused or dropped, and log it, at a limited rate."""
        self.pubsub.dropped[reason] += 1
        _log_dropped(reason, "a Socket.IO server dropped a message: {why}", why=why)
