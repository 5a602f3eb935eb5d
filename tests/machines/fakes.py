"""A machine whose gateway records, and an event loop whose time passes only when it waits."""

import asyncio
import selectors
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from cluster.core.machines.engine import (
    START,
    Deliveries,
    Engine,
    InboxEntry,
    Joined,
    LogEntry,
    Turn,
)
from cluster.uplink.uplink import Uplink


class RecordingGateway:
    """Writes what the test puts into it, and records what it is given.

    `events` has, in order, what was called: ("joined", Joined), ("cut off",), ("read", data of the
    log, data of the inbox), ("written", refused).
    """

    def __init__(self, nodes: Sequence[str] = ()) -> None:
        self.nodes = nodes
        self.machines: tuple[str, ...] = ()
        self.state = "alone"
        self.applied = self.read_inbox = START
        self.queued_bytes = 0
        self.dropped: Counter[str] = Counter()
        self.events: list[tuple[Any, ...]] = []
        self.log: list[LogEntry] = []
        self.inbox: list[InboxEntry] = []
        self.queue: deque[tuple[bytes, tuple[tuple[str, bytes], ...]]] = deque()
        self.number = self.retries = self.engine_time = 0
        self.member = ""
        self.uplink: Any = None

    def put(self, log: bytes = b"", *inboxes: tuple[str, bytes]) -> None:
        """Have a turn written."""
        self.queue.append((log, inboxes))
        self.uplink.wake()

    def joined(self, joined: Joined, now: int) -> Any:
        self.events.append(("joined", joined))
        self.state = "joined"
        self.member = joined.member
        self.machines = tuple(each.partition("~")[0] for each in joined.members[:-1])
        self.applied, self.read_inbox, self.number = joined.log_id, START, 0
        return []

    def cut_off(self) -> Any:
        self.events.append(("cut off",))
        self.state = "cut off"
        return []

    def read(self, log: Sequence[LogEntry], inbox: Sequence[InboxEntry]) -> Any:
        self.log += log
        self.inbox += inbox
        self.events.append(("read", [each.data for each in log], [each.data for each in inbox]))
        if log:
            self.applied = log[-1].id
        if inbox:
            self.read_inbox = inbox[-1].id
        return Deliveries([], [])

    def take_turn(self) -> Turn | None:
        if not self.queue:
            return None
        self.number += 1
        log, inboxes = self.queue.popleft()
        return Turn(self.number, log, inboxes, (), self.applied)

    def turn_written(self, refused: frozenset[str]) -> Any:
        self.events.append(("written", refused))
        return []

    def retry(self) -> None:
        self.retries += 1

    def clock(self, engine: int, now: int) -> None:
        self.engine_time = engine

    def turns(self) -> list[bytes]:
        """The payloads of the turns in the log."""
        return [each.data for each in self.log if each.kind == "T"]


class RunningReactor:
    """The methods of a reactor that an uplink calls."""

    def callWhenRunning(self, call: Callable[..., object], *arguments: Any) -> None:
        call(*arguments)

    def callLater(self, seconds: float, call: Callable[..., object], *arguments: Any) -> Any:
        return asyncio.get_running_loop().call_later(seconds, call, *arguments)


class Machine:
    """A machine's uplink to an engine, which is started, with a gateway that records.

    `delivered` has what the nodes would get.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        owner: str = "",
        fingerprint: str = "fingerprint",
        nodes: Sequence[str] = (),
    ) -> None:
        self.gateway = RecordingGateway(nodes)
        self.delivered: list[Deliveries] = []
        self.uplink = Uplink(
            engine,
            self.gateway,
            owner or f"owner of {name}",
            fingerprint,
            self.delivered.append,
            RunningReactor(),
            name,
        )
        self.gateway.uplink = self.uplink
        self.uplink.startService()

    @property
    def state(self) -> str:
        return str(self.uplink.stats()["state"])

    @property
    def reason(self) -> str:
        return str(self.uplink.stats()["reason"])

    def joins(self) -> list[str]:
        """The members that this machine became."""
        return [event[1].member for event in self.gateway.events if event[0] == "joined"]

    async def stop(self) -> None:
        task = self.uplink._task
        if task is not None:
            await self.uplink._stop(task)


class _Selector(selectors.DefaultSelector):
    def __init__(self, passed: Callable[[float], None]) -> None:
        super().__init__()
        self._passed = passed

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("nothing is left that could happen")
        if timeout > 0:
            self._passed(timeout)
        return super().select(0)


class InstantLoop(asyncio.SelectorEventLoop):
    """An event loop that does not wait: its clock moves to the next timer instead.

    `passed` is called with the seconds that were not waited for.
    """

    def __init__(self, passed: Callable[[float], None]) -> None:
        self._seconds = 1000.0
        self._call = passed
        super().__init__(_Selector(self._pass))

    def time(self) -> float:
        return self._seconds

    def _pass(self, seconds: float) -> None:
        self._seconds += seconds
        self._call(seconds)


def run_instantly(
    test: Coroutine[Any, Any, None], passed: Callable[[float], None] = lambda seconds: None
) -> None:
    """Run a test on an InstantLoop, and cancel what it has left."""
    loop = InstantLoop(passed)
    try:
        loop.run_until_complete(test)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.close()
