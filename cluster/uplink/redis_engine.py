"""RedisEngine: the engine between machines on Redis 7.0 or newer, or Valkey.

A machine has two connections, however many nodes it has. W writes turns, and says hello and
goodbye. R waits for entries, and beats with its reads: a beat on W would keep the lease of a
machine that cannot read any more.
"""

import secrets
from typing import Any

from twisted.logger import Logger

from cluster.core.machines.engine import (
    LEASE_MS,
    Beat,
    EngineUnavailable,
    GenerationChanged,
    InboxEntry,
    Joined,
    LogEntry,
    Turn,
    log_order,
)
from cluster.uplink.connection import (
    ANSWER_S,
    BYTES_PER_S,
    Address,
    RedisConnection,
    find_server,
    open_connection,
)
from cluster.uplink.scripts import INBOX_BYTES, LOG_BYTES, Script, script, site_prefix
from cluster.uplink.server import Server, examine, parse_info
from cluster.uplink.url import BusUrl

READ_ENTRIES, READ_BYTES = 64, 1 << 20
"""Entries of the log, and of the inbox, in one answer, and about how many bytes. A turn of a
gateway is one entry of each. On a slow network a large answer would hold up the beats, so fewer
entries are read at a time while they are large."""


class RedisEngine:
    """The Engine of one gateway, on Redis.

    Args:
        url: Where Redis is.
        site: The name of the site: machines with the same one belong together.
        machine: The name of this machine, which ``CLIENT LIST`` shows.
    """

    log = Logger()

    def __init__(
        self,
        url: BusUrl,
        site: str,
        machine: str,
        inbox_bytes: int = INBOX_BYTES,
        log_bytes: int = LOG_BYTES,
    ) -> None:
        self._url = url
        self._prefix = site_prefix(site)
        self._machine = machine
        self._limits = (inbox_bytes, log_bytes)
        self._writer: RedisConnection | None = None
        self._reader: RedisConnection | None = None
        self._run = ""  # of the server that the connections lead to
        self._joined_run = ""  # of that which has answered hello
        self._count = 4
        self._warned: set[str] = set()

    def __repr__(self) -> str:
        return f"<RedisEngine {self._url}>"

    async def connect(self) -> None:
        """Connect W and R, and check the server. Raises EngineError."""
        await self.close()
        address = await find_server(self._url)
        try:
            self._writer, server = await self._open(address, "W")
            self._reader, other = await self._open(address, "R")
            # A beat that is sent with a read cannot load its script before the read is answered.
            await self._reader.call("SCRIPT", "LOAD", self._script("beat").text)
        except BaseException:
            await self.close()
            raise
        if server.run != other.run:
            await self.close()
            raise EngineUnavailable("two connections lead to different servers")
        self._run = server.run
        for warning in server.warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                # A field named "warning" would make the event one of Python's warnings.
                self.log.warn("{url}: {problem}", url=self._url, problem=warning)

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        connections = self._writer, self._reader
        self._writer = self._reader = None
        for connection in connections:
            if connection is not None:
                await connection.close()

    async def hello(self, member: str, machine: str, owner: str, fingerprint: str) -> Joined:
        """Become a member: see Engine."""
        # Asked again, because a primary that gets its first replica has another history from then.
        writer = self._connection(self._writer)
        run = examine(parse_info(await writer.call("INFO"))).run
        answer = await writer.run(
            self._script("hello"),
            run,
            secrets.token_hex(8),
            member,
            machine,
            owner,
            LEASE_MS,
            fingerprint,
        )
        self._run = self._joined_run = run
        generation, created, log_id, *members = answer
        ids = [(log_order(members[i + 1].decode()), members[i].decode())
               for i in range(0, len(members), 2)]  # fmt: skip
        names = tuple(name for _, name in sorted(ids))
        return Joined(generation.decode(), member, bool(created), log_id.decode(), names)

    async def write(self, generation: str, member: str, turn: Turn) -> frozenset[str]:
        """Write a turn: see Engine."""
        writer = self._checked(self._writer)
        arguments = [
            generation,
            member,
            turn.number,
            turn.after,
            *self._limits,
            turn.log,
            len(turn.answers),
        ]
        size = len(turn.log)
        for pair in (*turn.answers, *turn.inboxes):
            arguments += pair
            size += len(pair[1])
        seconds = ANSWER_S + size / BYTES_PER_S
        refused = await writer.run(self._script("write"), *arguments, seconds=seconds)
        return frozenset(each.decode() for each in refused)

    async def read(
        self,
        generation: str,
        member: str,
        log_id: str,
        inbox_id: str,
        wait_ms: int,
        beat: Beat | None = None,
    ) -> tuple[list[LogEntry], list[InboxEntry]]:
        """Wait for entries: see Engine. A generation that is over has none; a beat tells that."""
        reader = self._checked(self._reader)
        prefix = f"{self._prefix}{generation}:"
        log_key, inbox_key = f"{prefix}log", f"{prefix}in:{member}"
        block = ("BLOCK", wait_ms) if wait_ms > 0 else ()
        command = (
            *("XREAD", "COUNT", self._count, *block, "STREAMS"),
            *(log_key, inbox_key, log_id, inbox_id),
        )
        seconds = ANSWER_S + wait_ms / 1000
        try:
            if beat is None:
                streams = await reader.call(*command, seconds=seconds)
            else:
                arguments = self._beat(generation, member, beat.log_id, beat.inbox_id)
                streams = await reader.call_after(
                    self._script("beat"),
                    arguments,
                    lambda time: beat.answered(int(time)),
                    beat.refused,
                    *command,
                    seconds=seconds,
                )
        except EngineUnavailable:
            self._count = 1
            raise
        log: list[LogEntry] = []
        inbox: list[InboxEntry] = []
        for key, entries in streams or ():
            if key == log_key.encode():
                log = [_log_entry(id, fields) for id, fields in entries]
            else:
                inbox = [_inbox_entry(id, fields) for id, fields in entries]
        size = sum(len(each.data) for each in log) + sum(len(each.data) for each in inbox)
        if size > READ_BYTES:
            self._count = max(1, self._count // 2)
        elif size < READ_BYTES // 4:
            self._count = min(READ_ENTRIES, self._count * 2)
        return log, inbox

    async def beat(self, generation: str, member: str, log_id: str, inbox_id: str) -> int:
        """Renew the lease: see Engine."""
        reader = self._checked(self._reader)
        arguments = self._beat(generation, member, log_id, inbox_id)
        return int(await reader.run(self._script("beat"), *arguments))

    def _beat(self, generation: str, member: str, log_id: str, inbox_id: str) -> tuple[Any, ...]:
        return generation, member, log_id, inbox_id, LEASE_MS, self._limits[1]

    async def goodbye(self, generation: str, member: str) -> None:
        """Cease to be a member: see Engine."""
        await self._checked(self._writer).run(self._script("goodbye"), generation, member)

    def _script(self, name: str) -> Script:
        return script(name)

    async def _open(self, address: Address | None, role: str) -> tuple[RedisConnection, Server]:
        name = f"c10k:{self._machine}:{role}"
        connection = await open_connection(self._url, address, self._prefix, name)
        try:
            return connection, examine(parse_info(await connection.call("INFO")))
        except BaseException:
            await connection.close()
            raise

    def _connection(self, connection: RedisConnection | None) -> RedisConnection:
        if connection is None:
            raise EngineUnavailable("not connected")
        return connection

    def _checked(self, connection: RedisConnection | None) -> RedisConnection:
        """The connection, if it leads to the server that knows this member."""
        found = self._connection(connection)
        if self._run != self._joined_run:
            raise GenerationChanged("another Redis has taken over, or it was restarted")
        return found


def _log_entry(id: bytes, fields: list[bytes]) -> LogEntry:
    # The scripts write the fields in this order: k m d t e.
    kind, member, data, ended = fields[1], fields[3], fields[5], fields[9]
    return LogEntry(id.decode(), kind.decode(), member.decode(), data, ended == b"1")


def _inbox_entry(id: bytes, fields: list[bytes]) -> InboxEntry:
    # k m d t a
    kind, member, data, after = fields[1], fields[3], fields[5], fields[9]
    return InboxEntry(id.decode(), kind.decode(), member.decode(), after.decode(), data)
