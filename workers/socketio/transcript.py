"""What a client of `swarm socketio` sends, and the check of what it receives. Pure.

    > 40                          connect to the main namespace
    < 40{"sid":…}
    > 420["join","ROOM"]          the room of the client
    < 430[…]
    > 42N["echo","N"]             N from 1, each when its pause is over
    < 43N["N"]
    > 42["publish","TEXT","ROOM"] the publisher of the room; TEXT as in broadcast_verification
    < 42["message","TEXT"]        to all clients of the room

`<` marks the server's packets, `>` the client's. The packets have the type of Engine.IO and that of
Socket.IO: https://socket.io/docs/v4/socket-io-protocol/
"""

CONNECT = b"40"
JOIN_ID = 0
EVENT = b'42["message","'


class WrongTranscript(Exception):
    """The server has deviated from the transcript. The text is the failure reason."""


class Transcript:
    """One client's packets, but for messages. Do not use it any more after a WrongTranscript."""

    __slots__ = ("echoed", "echoes", "is_connected", "is_joined")

    def __init__(self) -> None:
        self.is_connected = False
        self.is_joined = False
        self.echoes = 0  # sent
        self.echoed = 0  # acknowledged

    def join(self, room: str) -> bytes:
        """The packet that joins a room."""
        return b'42%d["join","%s"]' % (JOIN_ID, room.encode())

    def echo(self) -> bytes:
        """The next echo."""
        self.echoes += 1
        return b'42%d["echo","%d"]' % (self.echoes, self.echoes)

    def receive(self, packet: bytes) -> None:
        """Check a packet that is not a message; the attributes change. Raises WrongTranscript."""
        if not self.is_connected:
            if packet.startswith(b'40{"sid":"'):
                self.is_connected = True
                return
            raise _wrong("40", packet)
        if not self.is_joined:
            if packet.startswith(b"43%d[" % JOIN_ID):
                self.is_joined = True
                return
            raise _wrong(f"43{JOIN_ID}", packet)
        number = self.echoed + 1
        if self.echoes < number:
            raise _wrong("nothing", packet)
        if packet != b'43%d["%d"]' % (number, number):
            raise _wrong(f'43{number}["{number}"]', packet)
        self.echoed = number


def publication(text: bytes, room: str) -> bytes:
    """The packet of a publisher."""
    return b'42["publish","%s","%s"]' % (text, room.encode())


def text_of(packet: bytes) -> bytes:
    """The text of a message; other arguments follow if the server has recovery."""
    return packet[len(EVENT) :].partition(b'"')[0]


def _wrong(expected: str, packet: bytes) -> WrongTranscript:
    got = packet[:40].decode(errors="replace")
    return WrongTranscript(f"wrong transcript: expected {expected!r}, got {got!r}")
