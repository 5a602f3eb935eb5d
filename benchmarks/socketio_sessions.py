"""Hostile sessions of Socket.IO, for benchmarks.socketio_fuzz: valid ones with random faults.

Each session begins with a valid handshake, mostly, and then takes a few steps: polls, posts, an
upgrade, requests that are wrong, incomplete or come twice. About half of the packets are changed.
The last step is often none: the session is abandoned.
"""

import asyncio
import random
import re
from base64 import b64encode
from collections import Counter

SEPARATOR = b"\x1e"
PATH, RECOVERY_PATH = "/socket.io/", "/recovery/"

READ_WITHIN_S = 1.0
"""Seconds for which a hostile client waits for an answer."""

PACKETS = (
    *(b"40", b'40{"token":"secret"}', b'40/admin,{"token":"secret"}', b"40/admin,", b"40/none,"),
    *(b'40{"pid":"x","offset":"x:1"}', b'40{"pid":"\\ud800","offset":"1"}', b'40{"pid":["x"]}'),
    *(b"41", b"41/admin,", b'42["echo","x"]', b'421["echo",1,[2],{"a":null}]', b'427["thread",1]'),
    *(b'42["back","x"]', b'42["enter",1]', b'42["leave",1]', b'42["publish","x"]', b'42["bye"]'),
    *(b'42["bye",true]', b'42/admin,["any event",1]', b'42["unknown"]', b'42["echo"', b"42[]"),
    *(b'42["connect"]', b"42{}", b'420000000000000000001["echo"]', b"431[]", b"43[1]", b"44{}"),
    *(b'451-["echo",{"_placeholder":true,"num":0}]', b'461-1[{"_placeholder":true,"num":0}]'),
    b'452-9["echo",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
    *(b'4599999999999-["echo"]', b'451-["echo",{"_placeholder":true,"num":1e99}]', b"45-", b"450-"),
    *(b"1", b"2", b"2probe", b"3", b"3probe", b"5", b"6", b"0", b"7", b"", b"4", b"b", b"b!"),
    *(b"b" + b64encode(b"attachment"), b'42["echo",NaN]', b'42["echo",1e999]'),
    *(b'42["echo","\\ud800"]', b'42["echo","\xff"]', b'42["\\u0000\\n\x1b[31m"]', b"42[1e5]"),
    b'42["echo",' + b"9" * 5000 + b"]",
    b'42["echo",' + b"[" * 900 + b"]" * 900 + b"]",
    b'42["echo",' + b"[" * 100_000,
    b'427["echo",' + b'{"a":' * 400 + b"1" + b"}" * 400 + b"]",
    b"42/" + b"n" * 5000 + b',["echo"]',
    b'42["echo","' + b"x" * 100_000 + b'"]',
    b"2" + b"x" * 50_000,
)
"""Valid and invalid packets."""

SID = re.compile(rb'"sid":"([^"]+)"')


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return the data with a few random changes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del changed[at : at + rng.randrange(1, 9)]
            case 2:
                changed[at:at] = rng.choice((b"\x1e", b"4", b"[", b"{", b'"', b"-", b",", b"\\"))
            case 3:
                changed[at:at] = changed[at : at + rng.randrange(1, 50)]
            case _:
                changed[at:at] = rng.choice(PACKETS)[:1000]
    return bytes(changed)


def packet(rng: random.Random) -> bytes:
    """Return a packet, which may be changed."""
    chosen = rng.choice(PACKETS)
    return mutated(chosen, rng) if rng.random() < 0.4 else chosen


def payload(rng: random.Random) -> bytes:
    """Return the body of a POST."""
    if rng.random() < 0.05:
        return rng.choice((b"3", b"2", b"40/none,", b"6", b'42["echo","x"]')) + SEPARATOR.join(
            [rng.choice((b"", b"3", b"2"))] * rng.randrange(1, 100_000)
        )
    packets = [packet(rng) for _ in range(rng.choice((1, 1, 2, 3, 10)))]
    if rng.random() < 0.6:
        packets.insert(0, b"40")
    return SEPARATOR.join(packets)


def frame(data: bytes, opcode: int) -> bytes:
    """Encode a masked frame; the mask is zero."""
    head = bytes([0x80 | opcode])
    if len(data) < 126:
        return head + bytes([0x80 | len(data)]) + bytes(4) + data
    if len(data) < 65536:
        return head + b"\xfe" + len(data).to_bytes(2, "big") + bytes(4) + data
    return head + b"\xff" + len(data).to_bytes(8, "big") + bytes(4) + data


class HostileClient:
    """One client, which has one session after the other.

    port: that of the cluster.
    rng: its choices; with the same seed it makes the same ones.
    address: its own loopback address.
    seen: counts the steps, and the first lines of the answers.
    """

    def __init__(self, port: int, rng: random.Random, address: str, seen: Counter[str]) -> None:
        self._port, self._rng, self._address, self._seen = port, rng, address, seen
        self._open: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[bytes]] = []
        self._sid = ""
        self._path = PATH

    async def session(self) -> None:
        """Have one session, and leave it as it is."""
        rng = self._rng
        self._sid = ""
        self._path = rng.choice((PATH, PATH, RECOVERY_PATH))
        self._seen["sessions"] += 1
        choices = (
            *(self.poll, self.poll, self.post, self.post, self.post, self.upgrade, self.upgrade),
            *(self.two_polls, self.two_posts, self.half_request, self.wrong_request, self.leave),
        )
        try:
            if rng.random() < 0.25:
                await self.websocket("")
            else:
                answer = await self.request("GET", "", b"")
                found = SID.search(answer)
                self._sid = found[1].decode() if found else "x" * 20
            for _ in range(rng.choice((0, 1, 3, 6))):
                step = rng.choice(choices)
                self._seen[step.__name__] += 1
                await step()
        except (OSError, EOFError, asyncio.LimitOverrunError):
            self._seen["disconnected"] += 1
        finally:
            await self._abandon()

    async def _abandon(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self.leave_now()

    def leave_now(self) -> None:
        """Disconnect all connections, some with a reset."""
        for writer in self._open:
            if self._rng.random() < 0.3:
                writer.transport.abort()
            else:
                writer.close()
        self._open.clear()

    # The steps.

    async def poll(self) -> None:
        await self.request("GET", self._sid, b"", wait=self._rng.choice((0.05, 0.3, 1.0)))

    async def post(self) -> None:
        await self.request("POST", self._sid, payload(self._rng))

    async def two_polls(self) -> None:
        self._later("GET", b"")
        await self.poll()

    async def two_posts(self) -> None:
        self._later("POST", payload(self._rng))
        await self.post()

    async def leave(self) -> None:
        self._later("GET", b"")
        await asyncio.sleep(0.01)
        self.leave_now()

    async def half_request(self) -> None:
        """Send a request without its end."""
        whole = self._encoded("POST", self._sid, payload(self._rng))
        _, writer = await self._connect()
        writer.write(whole[: self._rng.randrange(1, len(whole))])
        await writer.drain()

    async def wrong_request(self) -> None:
        rng = self._rng
        others = (self._sid[:6] + "x" * 14, "x" * 20, self._sid + "x", "", "%00", "../" * 6)
        sid = rng.choice(others)
        method = rng.choice(("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"))
        await self.request(method, sid, payload(rng) if method != "GET" else b"")
        reader, writer = await self._connect()
        writer.write(mutated(self._encoded("GET", self._sid, b""), rng))
        await self._read(reader, 0.1)

    async def upgrade(self) -> None:
        await self.websocket(self._sid)

    async def websocket(self, sid: str) -> None:
        """Open a WebSocket, and send packets on it."""
        rng = self._rng
        head = self._header("GET", "websocket", sid)
        head += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        head += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        if rng.random() < 0.3:
            head += "Sec-WebSocket-Extensions: permessage-deflate\r\n"
        reader, writer = await self._connect()
        writer.write(f"{head}\r\n".encode())
        await self._read(reader, READ_WITHIN_S)
        packets = [packet(rng) for _ in range(rng.choice((0, 1, 4, 20)))]
        packets[:0] = rng.choice(([b"2probe", b"5", b"40"], [b"40"], [b"2probe"], [b"5"], []))
        for each in packets:
            writer.write(frame(each, 2 if rng.random() < 0.1 else 1))
        if rng.random() < 0.1:
            writer.write(rng.randbytes(rng.randrange(1, 200)))
        await writer.drain()
        await self._read(reader, rng.choice((0.0, 0.05, 0.5)))

    # Requests.

    async def request(self, method: str, sid: str, body: bytes, wait: float = 0) -> bytes:
        """Send one request, and return what is received within some time."""
        reader, writer = await self._connect()
        writer.write(self._encoded(method, sid, body))
        await writer.drain()
        answer = await self._read(reader, wait or READ_WITHIN_S)
        self._seen[answer[9:12].decode("latin-1") or "no answer"] += 1
        return answer

    def _later(self, method: str, body: bytes) -> None:
        request = self.request(method, self._sid, body)
        self._tasks.append(asyncio.get_running_loop().create_task(request))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self._port, local_addr=(self._address, 0)
        )
        self._open.append(writer)
        return reader, writer

    def _header(self, method: str, transport: str, sid: str) -> str:
        rng = self._rng
        if rng.random() < 0.03:
            transport = rng.choice(("", "polling", "websocket", "flash"))
        version = "4" if rng.random() < 0.97 else rng.choice(("", "3", "5", "4" * 100))
        target = f"{self._path}?EIO={version}&transport={transport}" + (
            f"&sid={sid}" if sid else ""
        )
        origin = "Origin: https://example.org\r\n" if rng.random() < 0.02 else ""
        return f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n{origin}"

    def _encoded(self, method: str, sid: str, body: bytes) -> bytes:
        head = self._header(method, "polling", sid)
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    @staticmethod
    async def _read(reader: asyncio.StreamReader, wait: float) -> bytes:
        """Read what comes at once; a client need not read all."""
        try:
            return await asyncio.wait_for(reader.read(65536), wait)
        except TimeoutError:
            return b""
