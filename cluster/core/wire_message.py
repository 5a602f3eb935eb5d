"""Message: what all messages of the node-broker link have in common (wire.py lists them)."""

from typing import ClassVar, Self

from cluster.core.exceptions import WireError
from cluster.core.wire_fields import Codec


class Message:
    """Base of all messages of the link; their fields are sent in the order they are listed."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]]  # by dataclass: the names of the fields
    KIND: ClassVar[bytes]
    LAYOUT: ClassVar[tuple[Codec, ...]] = ()
    """How each field is sent. Messages whose number of fields varies have methods of their own."""

    def to_fields(self) -> list[bytes]:
        """The fields as byte strings."""
        fields = zip(self.__match_args__, self.LAYOUT, strict=True)
        return [codec.encode(getattr(self, name)) for name, codec in fields]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Self:
        """Raises WireError if the fields are not this message's."""
        if len(fields) != len(cls.LAYOUT):
            raise WireError(f"{len(fields)} fields instead of {len(cls.LAYOUT)}")
        return cls(*[codec.decode(field) for codec, field in zip(cls.LAYOUT, fields, strict=True)])
