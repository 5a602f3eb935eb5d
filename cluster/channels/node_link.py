"""The topics of this process's node: groups, and channels of other processes.

A process whose node changes, as in tests, subscribes again with the next call.
Call all methods in the thread of the node's event loop.
"""

import asyncio
import random
from collections.abc import Callable

from cluster.channels.drops import FULL, GONE, MALFORMED, Drops
from cluster.channels.messages import Kind, decode_envelope, encode_envelope
from cluster.channels.queues import Queues
from cluster.channels.topic_names import TopicNames
from cluster.core.exceptions import WireError
from cluster.core.interfaces import Callback, Node
from cluster.django.api.in_force import InForce
from cluster.django.api.payloads import as_message
from cluster.net.websocket.frames import binary_frame


class NodeLink:
    """Subscribes to the topics of a layer on a node, and delivers what arrives.

    Args:
        node: The node.
        process: The name of this process. What it has sent itself is not delivered again.
        names: The topics of the layer.
        queues: The channels of this process.
        drops: Counts dropped messages.
        expiry: Seconds for which this process counts as a reader of a channel after it has read.
    """

    def __init__(
        self,
        node: Node,
        process: str,
        names: TopicNames,
        queues: Queues,
        drops: Drops,
        expiry: float,
    ) -> None:
        self.node = node
        self.loop = asyncio.get_running_loop()
        self.in_force = InForce(node.pubsub.barriers, f"c10k/channels/{process}/")
        self._process = process
        self._names = names
        self._queues = queues
        self._drops = drops
        self._expiry = expiry
        self._groups: dict[str, Callback] = {}
        self._not_in_force: dict[str, asyncio.Future[None]] = {}
        self._reading: set[str] = set()
        self._watching: dict[str, Callable[[], None]] = {}
        self._flushes: dict[bytes, tuple[int, asyncio.Future[None]]] = {}
        self._last_flush = 0
        drops.node_counts = node.pubsub.dropped
        for topic in (names.of_process(process), names.all, names.relay):
            node.pubsub.follow(topic, self._taker(topic))
        self.ready = self.in_force.ask()
        for group in queues.groups():
            self.join_group(group)

    def publish(self, topic: bytes, kind: Kind, name: str, body: bytes) -> int:
        """Publish an envelope; returns how many nodes subscribe."""
        data = encode_envelope(self._process, kind, name, body)
        return self.node.pubsub.publish(topic, binary_frame(data))[0]

    def stop(self) -> None:
        """This is not the node of the process any more."""
        for callback in self._groups.values():
            callback.stop()

    # Groups.

    def join_group(self, group: str) -> "asyncio.Future[None] | None":
        """Receive the messages of a group; returns what to wait for, if it is not in force yet."""
        if group not in self._groups:
            topic = self._names.of_group(group)
            self._groups[group] = self.node.pubsub.follow(topic, self._taker(topic))
            future = self._not_in_force[group] = self.in_force.ask()
            future.add_done_callback(lambda done: self._now_in_force(group, done))
        return self._not_in_force.get(group)

    def leave_group(self, group: str) -> None:
        """Receive no messages of a group any more, unless it has members again."""
        if not self._queues.has_members(group):
            callback = self._groups.pop(group, None)
            if callback is not None:
                callback.stop()

    def _now_in_force(self, group: str, done: "asyncio.Future[None]") -> None:
        if self._not_in_force.get(group) is done:
            del self._not_in_force[group]

    # Channels that any process may receive from.

    def send_to_reader(self, channel: str, body: bytes) -> bool:
        """Send a message to one of the processes that receive from a channel, or keep it until
        there is one. Returns False if the channel is in this process, and full."""
        readers = self.node.pubsub.presence.members(self._names.readers(channel))
        reader = random.choice(readers) if readers else self._process
        if reader != self._process:
            if not self.publish(self._names.of_process(reader), Kind.SEND, channel, body):
                self._drops.add(GONE, channel)
            return True
        if not readers:
            self._forward_to_reader(channel)
        return self._queues.put(channel, body)

    def read(self, channel: str) -> None:
        """This process receives from a channel: the others send its messages here."""
        if channel not in self._reading:
            self._reading.add(channel)
            self.node.pubsub.presence.join(self._names.readers(channel), self._process)
            self.loop.call_later(self._expiry, self._look_whether_read, channel)

    def _forward_to_reader(self, channel: str) -> None:
        """Messages of a channel that nobody receives from wait here: send them to the first one
        that does."""
        if channel in self._watching:
            return

        def joined(process: str, is_here: bool) -> None:
            if is_here:
                self._watching.pop(channel)()
                if process != self._process:
                    for body in self._queues.take_all(channel):
                        self.publish(self._names.of_process(process), Kind.SEND, channel, body)

        topic = self._names.readers(channel)
        self._watching[channel] = self.node.pubsub.presence.watch(topic, joined)
        self.loop.call_later(self._expiry, self._look_whether_waiting, channel)

    def _look_whether_waiting(self, channel: str) -> None:
        """Watch a channel no longer than its messages wait."""
        if channel in self._queues:
            self.loop.call_later(self._expiry, self._look_whether_waiting, channel)
        elif channel in self._watching:
            self._watching.pop(channel)()

    def _look_whether_read(self, channel: str) -> None:
        if self._queues.is_read(channel):
            self.loop.call_later(self._expiry, self._look_whether_read, channel)
        else:
            self._reading.discard(channel)
            self.node.pubsub.presence.leave(self._names.readers(channel), self._process)

    # Flush.

    def flush(self) -> "asyncio.Future[None]":
        """Ask all other processes to forget everything; the future waits for their answers."""
        self._last_flush += 1
        body = self._last_flush.to_bytes(8, "big")
        future = self.loop.create_future()
        others = self.publish(self._names.all, Kind.FLUSH, self._process, body) - 1
        if others > 0:
            self._flushes[body] = (others, future)
            future.add_done_callback(lambda done: self._flushes.pop(body, None))
        else:
            future.set_result(None)
        return future

    def _flushed(self, body: bytes) -> None:
        if body in self._flushes:
            missing, future = self._flushes[body]
            self._flushes[body] = (missing - 1, future)
            if missing == 1 and not future.done():
                future.set_result(None)

    # What arrives.

    def _taker(self, topic: bytes) -> Callable[[bytes, int], None]:
        def take(frame: bytes, offset: int) -> None:
            try:
                sender, kind, name, body = decode_envelope(as_message(frame))
                if sender != self._process:
                    self._receive(kind, name, body)
            except (WireError, ValueError):
                self._drops.add(MALFORMED, topic.decode(errors="replace"))

        return take

    def _receive(self, kind: int, name: str, body: bytes) -> None:
        if kind == Kind.GROUP:
            self._queues.put_to_group(name, body)
        elif kind == Kind.SEND:
            if not self._queues.put(name, body):
                self._drops.add(FULL, name)
        elif kind == Kind.RELAY:
            if not self.send_to_reader(name, body):
                self._drops.add(FULL, name)
        elif kind == Kind.ADD:
            group = body.decode()
            self._queues.add(group, name)
            self.join_group(group)
        elif kind == Kind.DISCARD:
            self._queues.discard(body.decode(), name)
        elif kind == Kind.FLUSH:
            self._queues.flush()
            if name:
                self.publish(self._names.of_process(name), Kind.FLUSHED, "", body)
        elif kind == Kind.FLUSHED:
            self._flushed(body)
        else:
            raise WireError(f"unknown kind {kind}")
