"""A message to clients: encoded once, and shared by all that receive it."""

from cluster.net.websocket.frames import binary_frame, text_frame


class OutPacket:
    """One message of Socket.IO, for any number of clients of any transport.

    Args:
        text: The Engine.IO packet of the text, with its type: ``b'42["news",1]'``.
        attachments: The binary data that follows it, one Engine.IO packet each.
    """

    __slots__ = ("_frames", "attachments", "text")

    def __init__(self, text: bytes, attachments: tuple[bytes, ...] = ()) -> None:
        self.text = text
        self.attachments = attachments
        self._frames: tuple[bytes, ...] | None = None

    @property
    def frames(self) -> tuple[bytes, ...]:
        """The WebSocket frames, one for each packet. They are encoded when they are first used."""
        frames = self._frames
        if frames is None:
            frames = (text_frame(self.text),)
            if self.attachments:
                frames += tuple(map(binary_frame, self.attachments))
            self._frames = frames
        return frames

    @property
    def packets(self) -> tuple[tuple[bytes, bool], ...]:
        """The Engine.IO packets, as ``engine_packets.encode_payload`` takes them."""
        return ((self.text, False), *((data, True) for data in self.attachments))

    def __len__(self) -> int:
        """The bytes of all packets."""
        return len(self.text) + sum(map(len, self.attachments))
