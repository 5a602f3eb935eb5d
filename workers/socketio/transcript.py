"""What a client of `swarm socketio` sends, and the check of what it receives. Pure.

    > 40                          connect to the main namespace
    < 40{"sid":…}
    > 420["join","ROOM"]          the room of the client
    < 430[…]
    > 42N["echo","N"]             N from 1, each when its pause is over
    < 43N["N"]
    > 42["publish","TEXT","ROOM"] the publisher of the room; TEXT as in broadcast_verification
    < 43M[…]                      only with --reconnect, where M is at least PUBLICATIONS
    < 42["message","TEXT"]        to all clients of the room; with the recovery of connections an
                                  offset follows

A client that has lost its connection sends 40{"pid":…,"offset":…} with what it has received. If the
server answers with the same pid, the client is in its room, and receives what it has missed.

`<` marks the server's packets, `>` the client's. The packets have the type of Engine.IO and that of
Socket.IO: https://socket.io/docs/v4/socket-io-protocol/
"""

JOIN_ID = 0
PUBLICATIONS = 1_000_000_000
"""Added to the number of a publication for its id, which has so many digits more than an echo's."""

EVENT = b'42["message","'


class WrongTranscript(Exception):
    """The server has deviated from the transcript. The text is the failure reason."""


class Transcript:
    """One client's packets, but for messages. Do not use it any more after a WrongTranscript."""

    __slots__ = ("echoed", "echoes", "is_connected", "is_joined", "offset", "pid")

    def __init__(self) -> None:
        self.is_connected = False
        self.is_joined = False
        self.echoes = 0  # sent
        self.echoed = 0  # acknowledged
        self.pid = b""  # private id of the session
        self.offset = b""  # of the last message

    def connect(self) -> bytes:
        """The packet that connects to the namespace."""
        if self.pid and self.offset:
            return b'40{"pid":"%s","offset":"%s"}' % (self.pid, self.offset)
        return b"40"

    def join(self, room: str) -> bytes:
        """The packet that joins a room."""
        return b'42%d["join","%s"]' % (JOIN_ID, room.encode())

    def echo(self) -> bytes:
        """The next echo."""
        self.echoes += 1
        return b'42%d["echo","%d"]' % (self.echoes, self.echoes)

    def lost(self) -> None:
        """The connection is lost: echoes that are not acknowledged are sent again."""
        self.is_connected = self.is_joined = False
        self.echoes = self.echoed

    def receive(self, packet: bytes) -> None:
        """Check a packet that is not a message; the attributes change. Raises WrongTranscript."""
        if not self.is_connected:
            if not packet.startswith(b'40{"sid":"'):
                raise _wrong("40", packet)
            pid = packet.partition(b'"pid":"')[2].partition(b'"')[0]
            self.is_joined = bool(pid) and pid == self.pid
            self.pid = pid
            self.is_connected = True
        elif not self.is_joined:
            if not packet.startswith(b"43%d[" % JOIN_ID):
                raise _wrong(f"43{JOIN_ID}", packet)
            self.is_joined = True
        else:
            self._echoed(packet)

    def _echoed(self, packet: bytes) -> None:
        number = self.echoed + 1
        if self.echoes < number:
            raise _wrong("nothing", packet)
        if packet != b'43%d["%d"]' % (number, number):
            raise _wrong(f'43{number}["{number}"]', packet)
        self.echoed = number


def publication(text: bytes, room: str, number: int | None = None) -> bytes:
    """The packet of a publisher, to be acknowledged if it has a number."""
    id = b"" if number is None else b"%d" % (PUBLICATIONS + number)
    return b'42%s["publish","%s","%s"]' % (id, text, room.encode())


def published(packet: bytes) -> int | None:
    """The number of the publication that a packet acknowledges; None for any other packet."""
    id = packet[2 : packet.find(b"[")]
    if packet.startswith(b"43") and len(id) == len(str(PUBLICATIONS)) and id.isdigit():
        return int(id) - PUBLICATIONS
    return None


def message_of(packet: bytes) -> tuple[bytes, bytes]:
    """The text of a message, and its offset; empty without one."""
    text, _, rest = packet[len(EVENT) :].partition(b'"')
    return text, rest.strip(b',"]')


def _wrong(expected: str, packet: bytes) -> WrongTranscript:
    got = packet[:40].decode(errors="replace")
    return WrongTranscript(f"wrong transcript: expected {expected!r}, got {got!r}")
