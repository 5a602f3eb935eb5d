"""topic_messages: the messages of a topic, for a coroutine.

::

    async with topic_messages("prices") as messages:
        async for message in messages:
            ...
"""

import asyncio
from collections import deque
from typing import Self

from cluster.core.broker_state.retained_topic import format_position
from cluster.core.exceptions import MessagesLost, TooSlow
from cluster.core.interfaces import Callback, Position
from cluster.django import conf
from cluster.django.api.payloads import Payload, Topic, as_message, as_topic
from cluster.django.api.positions import parse_since
from cluster.django.api.topics import node_of_this_loop, set_result

GAP = (b"", "", -1)
"""In the queue, in place of a message: messages are lost."""

LOOK_EVERY = 64
"""Messages after which a loop over a topic lets the event loop run."""


class topic_messages:
    """The messages of a topic from now on, the retained ones first.

    Enter it with ``async with`` in a node's event loop, where handlers run, and iterate over it
    with ``async for``; the iteration has no end of its own. An asynchronous view has another event
    loop.

    At most ``TOPIC_QUEUE_MESSAGES`` messages wait for the iteration. If one more comes, the
    iteration ends with TooSlow after those that wait, and the rest is counted as dropped
    (``slow_handler``). If messages are lost because the node was cut off from the others for too
    long, the iteration ends with MessagesLost at their place; another one continues behind them.

    Args:
        topic: The name of the topic.
        since: A position: of the retained messages, only those after it.

    Attributes:
        recovered: Whether all messages after ``since`` are there; known once it is entered. False
            after MessagesLost.
        position: The position of the last message that was taken; empty for a topic that retains
            nothing.

    Raises:
        NotRunning: It is entered in another event loop than a node's.
        MessagesLost: Messages did not reach this node.
        TooSlow: The iteration takes the messages too slowly, and some are lost.
        TypeError: ``topic`` or ``since`` has a wrong type.
    """

    def __init__(self, topic: Topic, *, since: str | None = None) -> None:
        self.recovered = False
        self._topic = as_topic(topic)
        self._since = parse_since(since)
        self._queue: deque[tuple[bytes, str, int]] = deque()
        self._limit: int = conf.load()["TOPIC_QUEUE_MESSAGES"]
        self._lost = 0
        self._position: Position = ("", 0)
        self._waiter: asyncio.Future[None] | None = None
        self._callback: Callback | None = None

    @property
    def position(self) -> str:
        """The position of the last message that was taken, from which ``since`` resumes."""
        return format_position(*self._position) if self._position[0] else ""

    async def __aenter__(self) -> Self:
        self._pubsub = node_of_this_loop().pubsub
        known: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def answer(recovered: bool, epoch: str, offset: int) -> None:
            if known.done():
                self._put_gap()
                return
            self.recovered = recovered
            self._position = (epoch, offset)
            set_result(known)

        callback = self._callback = self._pubsub.follow(
            self._topic, self._take, since=self._since, answer=answer
        )
        try:
            await known
            # The missed messages have followed the answer at once.
            if self._queue and self._queue[0][2]:
                self._position = (self._position[0], self._queue[0][2] - 1)
        except BaseException:
            callback.stop()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._callback is not None
        self._callback.stop()
        self._queue.clear()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Payload:
        while not self._queue:
            if self._lost:
                raise TooSlow(f"{self._lost} messages of {self._topic!r} were dropped")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if not len(self._queue) % LOOK_EVERY:
            await asyncio.sleep(0)  # serve others, too, while many messages wait
        entry = self._queue.popleft()
        if entry is GAP:
            self.recovered = False
            raise MessagesLost(f"messages of {self._topic!r} did not reach this node")
        frame, epoch, offset = entry
        if offset:
            self._position = (epoch, offset)
        return as_message(frame)

    def _take(self, frame: bytes, offset: int) -> None:
        if self._lost or len(self._queue) >= self._limit:
            self._lost += 1
            self._pubsub.dropped["slow_handler"] += 1
            return
        # While ``follow`` has not returned, the epoch is that of the answer. Later it may change:
        # another broker has an epoch of its own.
        epoch = self._position[0] if self._callback is None else self._callback.epoch
        self._put((frame, epoch, offset))

    def _put_gap(self) -> None:
        # Once between two messages, so that the queue stays bounded.
        if not self._queue or self._queue[-1] is not GAP:
            self._put(GAP)

    def _put(self, entry: tuple[bytes, str, int]) -> None:
        self._queue.append(entry)
        if self._waiter is not None:
            set_result(self._waiter)
