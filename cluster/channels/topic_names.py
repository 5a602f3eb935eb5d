"""Names of channels, and the topics that belong to channels and groups.

A process-specific channel is ``PREFIX.PROCESS!LOCAL``: PROCESS identifies the process that receives
from it. Any process may receive from another channel.

::

    c10k/channels/LAYER/process/PROCESS   for one process: its channels, members of its groups
    c10k/channels/LAYER/group/GROUP       for the processes with members of a group
    c10k/channels/LAYER/readers/CHANNEL   the processes that receive from a channel, as presence
    c10k/channels/LAYER/all               for all processes
    c10k/here/channels/LAYER              for one node: messages from outside for a channel without
                                          a process

LAYER is the option ``prefix`` of the layer. The topics are reserved for the cluster, so no client
can publish to them.
"""

import re
import secrets

from cluster.django.api.payloads import ONE_NODE, RESERVED

_PROCESS = re.compile(r"\A[^!]*\.([0-9a-f]{20})!")


def new_process() -> str:
    """A random name for a process."""
    return secrets.token_hex(10)


def new_local_part() -> str:
    """A random name for a channel within a process."""
    return secrets.token_hex(8)


def process_of(channel: str) -> str:
    """The process that receives from a channel; empty if any process may."""
    found = _PROCESS.match(channel)
    return found[1] if found else ""


class TopicNames:
    """The topics of one layer."""

    def __init__(self, layer: str) -> None:
        self._base = RESERVED + b"channels/" + layer.encode() + b"/"
        self.all = self._base + b"all"
        self.relay = ONE_NODE + b"channels/" + layer.encode()

    def of_process(self, process: str) -> bytes:
        """The topic of a process."""
        return self._base + b"process/" + process.encode()

    def of_group(self, group: str) -> bytes:
        """The topic of a group."""
        return self._base + b"group/" + group.encode()

    def readers(self, channel: str) -> bytes:
        """The topic on which the readers of a channel are present."""
        return self._base + b"readers/" + channel.encode()
