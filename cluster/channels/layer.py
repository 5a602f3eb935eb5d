"""ClusterChannelLayer: the channel layer of Channels, on the topics of the cluster.

It is a class for ``CHANNEL_LAYERS``. Its methods are those of Channels' specification:
https://channels.readthedocs.io/en/latest/channel_layer_spec.html
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, TypeVar

from channels.exceptions import ChannelFull, MessageTooLarge
from channels.layers import BaseChannelLayer

from cluster.channels import external
from cluster.channels.drops import GONE, Drops
from cluster.channels.messages import Kind, decode_message, encode_envelope, encode_message
from cluster.channels.node_link import NodeLink
from cluster.channels.queues import Queues
from cluster.channels.topic_names import TopicNames, new_local_part, new_process, process_of
from cluster.core.exceptions import ConfigurationError, NotRunning
from cluster.core.interfaces import Node
from cluster.django.api import in_force, topics
from cluster.django.api.publishing import wait_while_full
from cluster.net.websocket.frames import binary_frame

T = TypeVar("T")

ANSWER_TIMEOUT_S = 10.0
"""Seconds that a call from another thread waits for the event loop of the node."""

FLUSH_TIMEOUT_S = 5.0
"""Seconds that a flush waits for the other processes."""

LOOK_EVERY = 64
"""Messages after which a loop over a channel lets the event loop run, while more are there."""


class ClusterChannelLayer(BaseChannelLayer):  # type: ignore[misc, unused-ignore]
    """A channel layer without a server of its own: groups and channels are topics of the cluster.

    In a node its consumers receive from all nodes and machines. In any other process of the site
    ``send`` and ``group_send`` go through a running node; what the process itself receives comes
    only from itself, which is what a unit test needs. Messages are sent at once, also inside a
    database transaction.

    ``group_add`` returns when messages from all nodes reach the channel. A full channel of this
    process raises ChannelFull in ``send``; other messages that do not fit are counted as dropped
    (``channel_full``) and logged.

    Args:
        expiry: Seconds for which a message may wait in a channel.
        group_expiry: Seconds for which a channel is in a group after ``group_add``.
        capacity: Messages that may wait in a channel.
        channel_capacity: Other capacities: pattern or compiled regular expression -> messages. The
            first one that matches the whole name counts.
        prefix: Tells this layer from others of the same project, which must have other prefixes.
        clock: Returns seconds of a monotonic clock; for tests.
        node: Returns the node of this process or None; for tests.

    Raises:
        ConfigurationError: An option is not known, or its value is wrong.
    """

    extensions: ClassVar[list[str]] = ["groups", "flush"]
    ChannelFull = ChannelFull
    MessageTooLarge = MessageTooLarge

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: dict[Any, int] | None = None,
        prefix: str = "default",
        clock: Callable[[], float] = time.monotonic,
        node: Callable[[], Node | None] = lambda: topics.node,
        **unknown: object,
    ) -> None:
        for name, value in (("expiry", expiry), ("group_expiry", group_expiry)):
            _check(isinstance(value, int | float) and value > 0, name, value, "seconds above 0")
        for each in (capacity, *(channel_capacity or {}).values()):
            _check(isinstance(each, int) and each > 0, "capacity", each, "messages, 1 or more")
        is_name = isinstance(prefix, str) and self.group_name_regex.match(prefix)
        _check(bool(is_name), "prefix", prefix, "letters, digits, '-', '_' and '.'")
        if unknown:
            raise ConfigurationError(
                f"CHANNEL_LAYERS: ClusterChannelLayer has no option {sorted(unknown)[0]!r}; its"
                " options are expiry, group_expiry, capacity, channel_capacity and prefix"
            )
        super().__init__(expiry, capacity, channel_capacity)
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self.group_expiry = group_expiry
        self.drops = Drops()
        self._process = new_process()
        self._mark = f".{self._process}!"
        self._names = TopicNames(prefix)
        self._queues = Queues(expiry, group_expiry, self.get_capacity, clock, self.drops)
        self._queues.on_empty_group = self._group_is_empty
        self._node_of_process = node
        self._link: NodeLink | None = None
        self._received = 0

    # Channels.

    async def new_channel(self, prefix: str = "specific") -> str:
        """Return the name of a new channel that only this process can receive from.

        Args:
            prefix: The beginning of the name.

        Returns:
            The name.

        Raises:
            TypeError: The prefix cannot be part of a name.
        """
        name = f"{prefix}.{self._process}!{new_local_part()}"
        self.require_valid_channel_name(name)
        node = self._node()
        if node is not None:
            await self._in_loop(node, self._wait_for_link, node)
        return name

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to a channel, of any process.

        Args:
            channel: The name of the channel.
            message: A dict of text, bytes, numbers, booleans, None, lists and dicts.

        Raises:
            TypeError: The name or the message is invalid.
            ValueError: The message has an integer of more than 64 bits, or is nested too deeply.
            ChannelFull: The channel is in this process, and full.
            MessageTooLarge: The encoded message has more than 8 MiB.
            NotPublished: The node refused the message, or did not answer; outside of nodes only.
        """
        self.require_valid_channel_name(channel)
        body = encode_message(message)
        process = process_of(channel)
        if process == self._process:
            self._put(channel, body)
        elif process:
            await self._send_to_process(process, Kind.SEND, channel, body)
        elif (node := self._node()) is not None:
            await self._in_loop(node, self._send_to_reader, node, channel, body)
        else:
            await self._send_to_any_node(channel, body)

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for the next message of a channel, and return it.

        Args:
            channel: The name of the channel; one of this process, or one without a process. A name
                that ends with "!" receives from all channels with this beginning.

        Returns:
            The message, which no other receiver shares.

        Raises:
            TypeError: The name is invalid.
            ValueError: Only another process can receive from this channel.
        """
        link = self._link
        # Each message of a consumer is a call, so this is short for a channel that is known here.
        if (
            link is None
            or link.node is not self._node_of_process()
            or self._mark not in channel
            or channel not in self._queues
        ):
            await self._begin_to_receive(channel)
        self._received += 1
        if not self._received % LOOK_EVERY:
            await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        while True:
            taken = self._queues.take(channel, loop)
            if isinstance(taken, bytes):
                return decode_message(taken)
            try:
                await taken[1]
            except asyncio.CancelledError:
                self._queues.give_up(channel, taken)
                raise

    # Groups.

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group. Messages that are sent after this reach it, from any node.

        Args:
            group: The name of the group.
            channel: The name of the channel. If it is one of another process, that process is asked
                to add it, and this does not wait for it.

        Raises:
            TypeError: A name is invalid.
            NotPublished: The node refused the request, or did not answer; outside of nodes only.
        """
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        process = process_of(channel)
        if process and process != self._process:
            await self._send_to_process(process, Kind.ADD, channel, group.encode())
        elif (node := self._node()) is not None:
            await self._in_loop(node, self._add, node, group, channel)
        else:
            self._queues.add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group, if it is in it.

        Args:
            group: The name of the group.
            channel: The name of the channel.

        Raises:
            TypeError: A name is invalid.
            NotPublished: The node refused the request, or did not answer; outside of nodes only.
        """
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        process = process_of(channel)
        if process and process != self._process:
            await self._send_to_process(process, Kind.DISCARD, channel, group.encode())
        else:
            self._queues.discard(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to all channels of a group. Full channels do not receive it.

        Args:
            group: The name of the group.
            message: As for ``send``.

        Raises:
            TypeError: The name or the message is invalid.
            ValueError: The message has an integer of more than 64 bits, or is nested too deeply.
            MessageTooLarge: The encoded message has more than 8 MiB.
            NotPublished: The node refused the message, or did not answer; outside of nodes only.
        """
        self.require_valid_group_name(group)
        body = encode_message(message)
        node = self._node()
        if node is not None:
            await self._in_loop(node, self._send_to_group, node, group, body)
        else:
            self._queues.put_to_group(group, body)
            topic = self._names.of_group(group)
            await external.publish(*self._outside(topic, Kind.GROUP, group, body))

    # Flush.

    async def flush(self) -> None:
        """Forget all messages and groups of the layer, in all processes.

        It waits for the other nodes, for 5 seconds at most; outside of nodes it does not wait.
        """
        self._queues.flush()
        node = self._node()
        if node is not None:
            await self._in_loop(node, self._flush, node)
        else:
            await external.publish(*self._outside(self._names.all, Kind.FLUSH, "", b""))

    async def close(self) -> None:
        """Do nothing: the layer has no connection of its own."""

    # In any thread.

    def _node(self) -> Node | None:
        node = self._node_of_process()
        # capture_publications has a stand-in for a node, which has no subscribers.
        return node if node is not None and hasattr(node.pubsub, "follow") else None

    async def _in_loop(
        self, node: Node, call: Callable[..., Coroutine[Any, Any, T]], *args: Any
    ) -> T:
        """Run a coroutine in the event loop of the node, from any event loop."""
        if node.is_reactor_thread():
            return await call(*args)
        link = self._link
        if link is None or link.node is not node:
            link = node.in_reactor(self._linked, node)
        answer = asyncio.run_coroutine_threadsafe(call(*args), link.loop)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(answer), ANSWER_TIMEOUT_S)
        except TimeoutError:
            raise NotRunning("the node does not answer; it may be stopping") from None

    async def _begin_to_receive(self, channel: str) -> None:
        self.require_valid_channel_name(channel)
        process = process_of(channel)
        if process and process != self._process:
            raise ValueError(f"only another process can receive from {channel!r}")
        node = self._node()
        if node is not None:
            await self._in_loop(node, self._read, node, "" if process else channel)

    def _put(self, channel: str, body: bytes) -> None:
        if not self._queues.put(channel, body):
            raise ChannelFull(channel)

    def _outside(self, topic: bytes, kind: Kind, name: str, body: bytes) -> tuple[bytes, bytes]:
        return topic, binary_frame(encode_envelope(self._process, kind, name, body))

    async def _send_to_process(self, process: str, kind: Kind, name: str, body: bytes) -> None:
        """Send an envelope to another process."""
        topic, node = self._names.of_process(process), self._node()
        if node is not None:
            nodes = await self._in_loop(node, self._publish, node, topic, kind, name, body)
        else:
            nodes = await external.publish(*self._outside(topic, kind, name, body))
        if not nodes:
            self.drops.add(GONE, name)

    async def _send_to_any_node(self, channel: str, body: bytes) -> None:
        """Send to a channel without a process, from outside of nodes."""
        if not self._queues.is_read(channel):
            topic, frame = self._outside(self._names.relay, Kind.RELAY, channel, body)
            try:
                if await external.publish_if_running(topic, frame):
                    return
            except NotRunning:
                pass  # a test: what it sends it receives itself
        self._put(channel, body)

    def _group_is_empty(self, group: str) -> None:
        link = self._link
        if link is not None and link.node is self._node_of_process():
            link.node.in_reactor_later(lambda: link.leave_group(group))

    # In the event loop of the node.

    def _linked(self, node: Node) -> NodeLink:
        link = self._link
        if link is None or link.node is not node:
            if link is not None:
                link.stop()
            link = self._link = NodeLink(
                node, self._process, self._names, self._queues, self.drops, self.expiry
            )
        return link

    async def _publish(self, node: Node, topic: bytes, kind: Kind, name: str, body: bytes) -> int:
        link = self._linked(node)
        await wait_while_full(node)
        return link.publish(topic, kind, name, body)

    async def _wait_for_link(self, node: Node) -> None:
        """Wait until all nodes know this process, so that its channels can be sent to."""
        ready = self._linked(node).ready
        if not ready.done():
            await in_force.wait(ready)

    async def _read(self, node: Node, channel: str) -> None:
        link = self._linked(node)
        if channel:
            link.read(channel)

    async def _send_to_reader(self, node: Node, channel: str, body: bytes) -> None:
        if not self._linked(node).send_to_reader(channel, body):
            raise ChannelFull(channel)

    async def _add(self, node: Node, group: str, channel: str) -> None:
        self._queues.add(group, channel)
        waiting = self._linked(node).join_group(group)
        if waiting is not None:
            await in_force.wait(waiting)

    async def _send_to_group(self, node: Node, group: str, body: bytes) -> None:
        self._queues.put_to_group(group, body)
        await self._publish(node, self._names.of_group(group), Kind.GROUP, group, body)

    async def _flush(self, node: Node) -> None:
        await asyncio.wait([self._linked(node).flush()], timeout=FLUSH_TIMEOUT_S)


def _check(is_right: bool, name: str, value: object, wanted: str) -> None:
    if not is_right:
        raise ConfigurationError(f"CHANNEL_LAYERS: {name} is {wanted}, not {value!r}")
