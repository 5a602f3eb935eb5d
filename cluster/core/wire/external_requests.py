"""Publications of processes that run on no machine of the cluster; see messages.py.

Such a process reaches a broker through the engine that the machines share. The broker passes its
request to one of its nodes, and the node's answer back.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from cluster.core.exceptions import WireError
from cluster.core.wire.fields import TEXT, Message


@dataclass(frozen=True, slots=True)
class _ExternalMessage(Message):
    """``data`` consists of messages of external_publisher.py."""

    id: str
    data: bytes

    def to_fields(self) -> list[bytes]:
        return [TEXT.encode(self.id), self.data]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        if len(fields) != 2:
            raise WireError(f"{len(fields)} fields instead of 2")
        return cls(TEXT.decode(fields[0]), fields[1])


@dataclass(frozen=True, slots=True)
class ExternalRequest(_ExternalMessage):
    """Publish for a process that is on no machine of the cluster, and answer with ExternalAnswer.

    ``data`` is a Greeting with the publisher's site, then one Publish or more.
    """

    KIND: ClassVar[bytes] = b"D"


@dataclass(frozen=True, slots=True)
class ExternalAnswer(_ExternalMessage):
    """Answers the request with the same ``id``.

    ``data`` has one Accepted or Rejection for each Publish, in order; if there are fewer, a last
    Rejection holds for the rest, too. A Closing after them: the publications that have no answer
    were not published, and may be sent to another node.
    """

    KIND: ClassVar[bytes] = b"E"
