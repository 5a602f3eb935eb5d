"""ClusterEmitter: emit to Socket.IO clients from views, scripts and task queues."""

import json as standard_json
from typing import Any

from socketio import PubSubManager

from cluster.django.api.publishing import publish_all
from cluster.python_socketio.bus_messages import (
    EXTERNAL,
    MAX_SIZE,
    checked_limit,
    encode_message,
    topic_of,
)


class ClusterEmitter(PubSubManager):
    """Emits to the clients of all servers with a ClusterManager of the same channel.

    It takes the place of ``socketio.RedisManager(url, write_only=True)``. Its methods ``emit``,
    ``disconnect``, ``enter_room``, ``leave_room`` and ``close_room`` may be called in any thread of
    any process that has the site's settings. As with ``publish``, messages inside a database
    transaction are sent after the commit, and ``C10K["PUBLISH_WITHOUT_CLUSTER"]`` decides what
    happens if no cluster is running.

    Args:
        channel: The channel of the servers.
        logger: A logger in place of python-socketio's.
        json: A module with ``dumps``; the servers must read what it writes.
        max_size: Bytes of one message.
        immediate: Whether messages are sent immediately, also inside a transaction.

    ``emit`` and the others raise what ``publish`` raises; TypeError for data that is not JSON;
    ValueError for a message that is too large; and RuntimeError for a ``callback``: only servers
    receive acknowledgements.
    """

    name = "c10k"

    def __init__(
        self,
        channel: str = "socketio",
        logger: Any = None,
        json: Any = None,
        *,
        max_size: int = MAX_SIZE,
        immediate: bool = False,
    ) -> None:
        self._topic = topic_of(channel)
        self._max_size = checked_limit("max_size", max_size)
        self._immediate = immediate
        super().__init__(channel=channel, write_only=True, logger=logger)
        self.json = json or standard_json

    def _publish(self, data: dict[str, Any]) -> None:
        publication = encode_message(self._topic, EXTERNAL, data, self.json, self._max_size)
        publish_all([publication], immediate=self._immediate, using=None)

    def _handle_disconnect(self, message: dict[str, Any]) -> None:
        """There are no clients here."""
