"""An engine in memory: it does what the scripts of `cluster/uplink` do, by a clock that tests set.

A ModelRedis is the server, a ModelEngine the connections of one gateway to it. `test_engine.py`
drives the same steps through both and through Redis, and compares them.

The methods of ModelRedis are those of Engine without `await`, for simulations that have no event
loop. The coroutines of ModelEngine do not suspend, except for a `read` that waits.

    server = ModelRedis()
    a = ModelEngine(server)
    joined = server.hello("A~00000001", "A", "owner", "site")
    server.now += 1000                      # milliseconds
    a.lose_after("write")                   # the next write is executed, its answer is lost
    server.restart()                        # everything is forgotten
"""

import asyncio
import copy
from collections import Counter
from dataclasses import dataclass, field

from cluster.core.machines.engine import (
    BATCHES,
    EXTERNAL,
    JOINED,
    LEASE_MS,
    LEFT,
    TURN,
    AnotherSite,
    Beat,
    EngineFull,
    EngineRefused,
    EngineUnavailable,
    GenerationChanged,
    Gone,
    InboxEntry,
    Joined,
    LogEntry,
    NameTaken,
    NoMachine,
    Turn,
    log_order,
)
from cluster.core.machines.names import machine_of_member

BEAT_MS = 1_000
JUMP_MS = 3_000
STALLED_MS = 10_000
ENTRY_BYTES = 64
INBOX_BYTES = 8 << 20
LOG_BYTES = 64 << 20


class Stream:
    """Entries with ascending IDs, and how many bytes were ever added before each."""

    def __init__(self) -> None:
        self.last = (0, 0)
        self.total = 0
        self.base = 0  # bytes of the entries that were removed
        self.entries: list[tuple[str, int, LogEntry | InboxEntry]] = []

    def new_id(self, now: int) -> str:
        self.last = (now, 0) if now > self.last[0] else (self.last[0], self.last[1] + 1)
        return f"{self.last[0]}-{self.last[1]}"

    def add(self, entry: LogEntry | InboxEntry) -> None:
        self.entries.append((entry.id, self.total, entry))
        self.total += len(entry.data) + ENTRY_BYTES

    def trim(self, last: str) -> None:
        """Remove the entries up to an ID."""
        kept = [each for each in self.entries if log_order(each[0]) > log_order(last)]
        if len(kept) < len(self.entries):
            self.entries = kept
            self.base = kept[0][1] if kept else self.total

    @property
    def unread(self) -> int:
        return self.total - self.base


@dataclass
class Member:
    lease: int
    owner: str
    joined: str
    read: str
    progress: int
    turn: int = 0
    refused: frozenset[str] = frozenset()
    inbox: Stream = field(default_factory=Stream)


class Generation:
    """The data of one generation: what Redis has under `c10k:SITE:GENERATION:`."""

    def __init__(self, name: str, last: int, creator: str) -> None:
        self.name = name
        self.last = last
        self.creator = creator
        self.log = Stream()
        self.members: dict[str, Member] = {}

    def add_log(
        self, now: int, kind: str, member: str, data: bytes = b"", end: bool = False
    ) -> str:
        id = self.log.new_id(now)
        self.log.add(LogEntry(id, kind, member, data, end))
        return id

    def remove(self, now: int, member: str, ended: bool = False) -> None:
        del self.members[member]
        self.add_log(now, LEFT, member, end=ended)

    def follow_clock(self, now: int, is_beat: bool) -> None:
        """Move all leases with a clock that has jumped. Only a beat sees a jump forwards."""
        if now < self.last:
            step = now - self.last
        elif is_beat and now - self.last > JUMP_MS:
            step = now - self.last - BEAT_MS
        else:
            step = 0
        for each in self.members.values():
            each.lease += step
            each.progress += step
        if is_beat or step:
            self.last = now


class ModelRedis:
    """The server. `now` is its clock in Unix milliseconds, which the test sets.

    `inbox_bytes` and `log_bytes` are the limits above which `write` is refused. `refusal` is the
    text with which all writes but `beat`, `hello` and `goodbye` are refused, as by a server without
    memory; empty for none.
    """

    def __init__(self, inbox_bytes: int = INBOX_BYTES, log_bytes: int = LOG_BYTES) -> None:
        self.now = 1_700_000_000_000
        self.inbox_bytes = inbox_bytes
        self.log_bytes = log_bytes
        self.refusal = ""
        self.runs = 1
        self.calls: Counter[str] = Counter()
        self.current: Generation | None = None
        self.fingerprint = ""
        self.known_run = 0
        self.order = 0
        self.generations = 0
        self.answers: dict[str, list[bytes]] = {}
        self.requests: dict[str, str] = {}
        self.waiting: list[asyncio.Future[None]] = []

    # What operators and faults do

    def restart(self) -> None:
        """Forget everything, as a Redis that was restarted without persistence."""
        self.runs += 1
        self.current = None
        self.fingerprint = ""
        self.answers.clear()
        self.requests.clear()
        self._changed()

    def save(self) -> "Generation | None":
        """What a replica has now, for `fail_over`."""
        return copy.deepcopy(self.current)

    def fail_over(self, saved: "Generation | None") -> None:
        """Another server takes over with the data that it had: all later writes are lost."""
        self.runs += 1
        self.current = saved
        self._changed()

    # The scripts

    def hello(self, member: str, machine: str, owner: str, fingerprint: str) -> Joined:
        self.calls["hello"] += 1
        current = self.current
        if current is not None:
            current.follow_clock(self.now, is_beat=False)
        alive = {} if current is None else current.members
        running = any(each.lease > self.now for each in alive.values())
        if running and self.fingerprint != fingerprint:
            raise AnotherSite("another site uses the same keys")
        if current is None or not running or self.known_run != self.runs:
            self.generations += 1
            name = f"{self.generations:016x}"
            current = self.current = Generation(name, self.now, member)
            self.fingerprint = fingerprint
            self.known_run = self.runs
        if member not in current.members:
            same = [name for name in sorted(current.members) if machine_of_member(name) == machine]
            for other in same:
                each = current.members[other]
                if each.owner != owner and each.lease > self.now:
                    raise NameTaken(f"another machine named {machine} is running")
            for other in same:
                current.remove(self.now, other)
            id = current.add_log(self.now, JOINED, member)
            current.members[member] = Member(self.now + LEASE_MS, owner, id, id, self.now)
        self._changed()
        found = current.members[member]
        order = sorted(current.members, key=lambda name: log_order(current.members[name].joined))
        created = current.creator == member
        return Joined(current.name, member, created, found.joined, tuple(order))

    def write(self, generation: str, member: str, turn: Turn) -> frozenset[str]:
        self.calls["write"] += 1
        if self.refusal:
            raise EngineRefused(self.refusal)
        current = self._generation(generation)
        sender = self._member(current, member)
        if turn.number <= sender.turn:
            return sender.refused if turn.number == sender.turn else frozenset()
        if turn.number > sender.turn + 1:
            raise Gone(f"turn {turn.number} after {sender.turn}")
        if turn.log and current.log.unread > self.log_bytes:
            raise EngineFull("the log is full")
        after = turn.after
        if turn.log:
            after = current.add_log(self.now, TURN, member, turn.log)
        refused = set()
        for name, data in turn.inboxes:
            to = current.members.get(name)
            if to is None or to.inbox.unread > self.inbox_bytes:
                refused.add(name)
                continue
            id = to.inbox.new_id(self.now)
            to.inbox.add(InboxEntry(id, BATCHES, member, after, data))
        for request, answer in turn.answers:
            self.answers.setdefault(request, []).append(answer)
        sender.turn = turn.number
        sender.refused = frozenset(refused)
        self._changed()
        return sender.refused

    def read(
        self, generation: str, member: str, log_id: str, inbox_id: str
    ) -> tuple[list[LogEntry], list[InboxEntry]]:
        """The entries after these IDs; nothing for a generation or a member that is gone."""
        self.calls["read"] += 1
        current = self.current
        if current is None or current.name != generation:
            return [], []
        log = [
            each
            for id, _, each in current.log.entries
            if isinstance(each, LogEntry) and log_order(id) > log_order(log_id)
        ]
        reader = current.members.get(member)
        inbox = [
            each
            for id, _, each in (reader.inbox.entries if reader else ())
            if isinstance(each, InboxEntry) and log_order(id) > log_order(inbox_id)
        ]
        return log, inbox

    def beat(self, generation: str, member: str, log_id: str, inbox_id: str) -> int:
        self.calls["beat"] += 1
        current = self._generation(generation)
        found = self._member(current, member)
        current.follow_clock(self.now, is_beat=True)
        found.lease = self.now + LEASE_MS
        if log_order(log_id) > log_order(found.read):
            found.read, found.progress = log_id, self.now
        found.inbox.trim(inbox_id)
        over = [
            (each.lease, name) for name, each in current.members.items() if each.lease <= self.now
        ]
        if over:
            current.remove(self.now, min(over)[1])
            self._changed()
        read, slowest = min((log_order(m.read), name) for name, m in current.members.items())
        current.log.trim(f"{read[0]}-{read[1]}")
        stalled = self.now - current.members[slowest].progress > STALLED_MS
        if not over and current.log.unread > self.log_bytes and stalled:
            current.remove(self.now, slowest)
            self._end_if_empty()
            self._changed()
        return self.now

    def goodbye(self, generation: str, member: str) -> None:
        self.calls["goodbye"] += 1
        current = self.current
        if current is not None and current.name == generation and member in current.members:
            current.remove(self.now, member, ended=True)
            self._end_if_empty()
            self._changed()

    def outside(self, request: str, data: bytes, prefer: str = "") -> str:
        """Put an external request into the inbox of one member; returns the member.

        Raises NoMachine if there is none, EngineFull if no inbox has room.
        """
        self.calls["outside"] += 1
        if request in self.requests:
            return self.requests[request]
        current = self.current
        members = current.members if current is not None else {}
        alive = sorted(name for name, each in members.items() if each.lease > self.now)
        if not alive:
            raise NoMachine("no machine of this site is running")
        first = [name for name in alive if machine_of_member(name) == prefer]
        others = [name for name in alive if name not in first]
        begin = self.order % len(others) if others else 0
        self.order += 1
        for name in first + others[begin:] + others[:begin]:
            inbox = members[name].inbox
            if inbox.unread <= self.inbox_bytes:
                inbox.add(InboxEntry(inbox.new_id(self.now), EXTERNAL, request, "", data))
                self.requests[request] = name
                self._changed()
                return name
        raise EngineFull("all inboxes are full")

    def _generation(self, generation: str) -> Generation:
        if self.current is None or self.current.name != generation:
            raise GenerationChanged("another generation has begun")
        return self.current

    def _member(self, current: Generation, member: str) -> Member:
        if member not in current.members:
            raise Gone(f"{member} was removed")
        return current.members[member]

    def _end_if_empty(self) -> None:
        """The last member takes the generation with it."""
        if self.current is not None and not self.current.members:
            self.current, self.fingerprint, self.order = None, "", 0

    def _changed(self) -> None:
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(None)


class ModelEngine:
    """The Engine of one gateway: ModelRedis behind connections that fail when the test says so.

    Set `refusal` to a text while the server cannot be reached; `calls` has the names of the calls.
    """

    def __init__(self, server: ModelRedis) -> None:
        self.server = server
        self.refusal = ""
        self.connected = False
        self.calls: list[str] = []
        self._lose: dict[str, str] = {}
        self._run = 0
        self._known_run = 0

    def lose_before(self, call: str) -> None:
        """Lose the connection when a method is called next, before it is executed."""
        self._lose[call] = "before"

    def lose_after(self, call: str) -> None:
        """Execute the next call of a method, and lose the connection before its answer arrives."""
        self._lose[call] = "after"

    async def connect(self) -> None:
        self.calls.append("connect")
        if self.refusal:
            raise EngineUnavailable(self.refusal)
        self.connected = True
        self._run = self.server.runs

    async def close(self) -> None:
        self.calls.append("close")
        self.connected = False

    async def hello(self, member: str, machine: str, owner: str, fingerprint: str) -> Joined:
        self._before("hello")
        joined = self.server.hello(member, machine, owner, fingerprint)
        self._known_run = self._run
        self._after("hello")
        return joined

    async def write(self, generation: str, member: str, turn: Turn) -> frozenset[str]:
        self._before("write")
        refused = self.server.write(generation, member, turn)
        self._after("write")
        return refused

    async def read(
        self,
        generation: str,
        member: str,
        log_id: str,
        inbox_id: str,
        wait_ms: int,
        beat: Beat | None = None,
    ) -> tuple[list[LogEntry], list[InboxEntry]]:
        if beat is not None:
            try:
                now = await self.beat(generation, member, beat.log_id, beat.inbox_id)
            except EngineRefused as error:
                beat.refused(error)
            else:
                beat.answered(now)
        self._before("read")
        found = self.server.read(generation, member, log_id, inbox_id)
        if wait_ms and not any(found):
            changed = asyncio.get_running_loop().create_future()
            self.server.waiting.append(changed)
            await asyncio.wait([changed], timeout=wait_ms / 1000)
            self._check()
            found = self.server.read(generation, member, log_id, inbox_id)
        self._after("read")
        return found

    async def beat(self, generation: str, member: str, log_id: str, inbox_id: str) -> int:
        self._before("beat")
        now = self.server.beat(generation, member, log_id, inbox_id)
        self._after("beat")
        return now

    async def goodbye(self, generation: str, member: str) -> None:
        self._before("goodbye")
        self.server.goodbye(generation, member)
        self._after("goodbye")

    def _before(self, call: str) -> None:
        self.calls.append(call)
        self._check()
        if self._lose.get(call) == "before":
            del self._lose[call]
            self._disconnect()
        if call != "hello" and self._run != self._known_run:
            raise GenerationChanged("the server is another one")

    def _after(self, call: str) -> None:
        if self._lose.get(call) == "after":
            del self._lose[call]
            self._disconnect()

    def _check(self) -> None:
        if self.refusal or not self.connected or self._run != self.server.runs:
            self._disconnect()

    def _disconnect(self) -> None:
        self.connected = False
        raise EngineUnavailable(self.refusal or "the connection was lost")
