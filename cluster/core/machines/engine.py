"""The engine between machines: plain values, the Engine protocol and its errors.

An engine keeps one *log*, which all gateways read, and an *inbox* for each gateway. Both are lists
of entries with ascending IDs. The rules of an engine:

* a *member* is one life of a machine's gateway, ``NAME~INCARNATION`` with eight hexadecimal digits
  that are new for each ``hello``. A *generation* is one life of the engine's data. A call with
  another generation raises GenerationChanged;
* ``hello`` appends Joined to the log. A member that does not ``beat`` for the length of its lease
  is removed, and Left is appended. Its calls then raise Gone;
* ``write`` takes one turn of a gateway: an entry of the log, and entries for inboxes. It takes all
  of it at once, except for inboxes that are full. Turns are numbered, and a turn that was taken
  before changes nothing, so each call may be sent again;
* ``read`` returns entries in the order of their IDs. An entry of an inbox may arrive before the
  entries of the log that its sender had read.

IDs look like ``MILLISECONDS-NUMBER``, in the time of the engine's clock.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from cluster.core.wire.fields import Message

LEASE_MS = 5_000
"""How long a member stays a member without ``beat``."""

START = "0-0"
"""The ID before the first entry of a log or an inbox."""

JOINED, LEFT, TURN = "J", "L", "T"
"""The kinds of LogEntry."""

BATCHES, EXTERNAL = "B", "X"
"""The kinds of InboxEntry: from a member, or from a process outside of all clusters."""


class LogEntry(NamedTuple):
    """One entry of the log.

    ``kind`` is JOINED, LEFT or TURN; ``member`` is who joined, left, or wrote ``data``. ``ended``:
    the member said goodbye, and does not return.
    """

    id: str
    kind: str
    member: str
    data: bytes = b""
    ended: bool = False


class InboxEntry(NamedTuple):
    """One entry of a member's inbox.

    ``kind`` is BATCHES or EXTERNAL. Of BATCHES, ``member`` is the sender. ``after`` is the ID of
    the entry that the same turn added to the log; of a turn that added none, its ``after``. Of
    EXTERNAL, ``data`` is the request, ``member`` the ID of the request for the answer, and
    ``after`` is empty.
    """

    id: str
    kind: str
    member: str
    after: str
    data: bytes


class Joined(NamedTuple):
    """The answer to ``hello``.

    ``created``: this call began the generation. ``log_id`` is the ID of the Joined entry of
    ``member``; read the log after it. ``members`` are all members in the order in which they
    joined, the new one last.
    """

    generation: str
    member: str
    created: bool
    log_id: str
    members: tuple[str, ...]


class Turn(NamedTuple):
    """What a gateway writes at once.

    ``number`` counts the turns of a member 1, 2, 3, …; ``after`` is the ID of the last log entry
    that the gateway had applied. An empty ``log`` adds nothing to the log. ``inboxes`` are (member,
    payload), each member at most once; ``answers`` are (ID of an external request, payload). The
    shell sends the answers itself, after the turn.
    """

    number: int
    log: bytes
    inboxes: tuple[tuple[str, bytes], ...]
    answers: tuple[tuple[str, bytes], ...] = ()
    after: str = START


class Batch(NamedTuple):
    """A batch of a node of another machine. Forward it to the local node unopened."""

    origin: str
    data: bytes


class Deliveries(NamedTuple):
    """What a gateway has for the local nodes.

    ``messages`` are (node, message or batch); keep their order. ``external`` are requests of
    processes outside of the cluster, (ID, data): let any local node answer them, and pass the
    answer to Gateway.answer.
    """

    messages: list[tuple[str, Message | Batch]]
    external: list[tuple[str, bytes]]


class EngineError(Exception):
    """Base class of what an engine's calls raise. The text is one line for the operator.

    ::

        EngineError
        ├── Gone                this member was removed; say hello as a new one
        ├── GenerationChanged   the engine lost its data; say hello
        ├── NameTaken           another gateway uses the name of this machine
        ├── AnotherSite         another site uses the same keys
        ├── EngineFull          the log has too much that is not read; try again later
        ├── EngineUnusable      the engine is not configured as it must be
        ├── NoMachine           no machine takes an external request
        ├── NoAnswer            no machine answered an external request
        └── EngineUnavailable   no connection; connect again later
            └── EngineRefused   no writes are taken; try again later
    """


class Gone(EngineError):
    """This member is not a member any more; say ``hello`` as a new one."""


class GenerationChanged(EngineError):
    """The engine has other data than those that the caller knows; say ``hello`` again."""


class NameTaken(EngineError):
    """A live member with another owner has this machine's name."""


class AnotherSite(EngineError):
    """The keys belong to a site with another fingerprint."""


class EngineFull(EngineError):
    """Too much of the log is not read by all members. Nothing was written; try again later."""


class EngineUnusable(EngineError):
    """The engine cannot be used as it is configured; the text says what to change."""


class NoMachine(EngineError):
    """No machine of the site is connected, so none has received the external request."""


class NoAnswer(EngineError):
    """A machine may have received the external request, but no answer came in time."""


class EngineUnavailable(EngineError):
    """The engine cannot be reached, or is starting; the text says why. Connect again later."""


class EngineRefused(EngineUnavailable):
    """The engine takes no writes now, for example for lack of memory; the text says why.

    The connection is intact. Nothing was written; try again later.
    """


class Beat(NamedTuple):
    """A beat that is sent with a read: its positions, as for ``Engine.beat``.

    One of the functions is called as soon as the beat is answered, which may be long before the
    read is: ``answered`` with the engine's time in Unix milliseconds, or ``refused`` with the
    reason. If neither is called, send the beat again.
    """

    log_id: str
    inbox_id: str
    answered: Callable[[int], None]
    refused: Callable[[EngineRefused], None]


class Engine(Protocol):
    """An engine, for one gateway. All calls raise EngineError, and may be sent again after it."""

    async def connect(self) -> None:
        """Connect, and check that the engine can be used."""

    async def close(self) -> None:
        """Disconnect. The member stays one until its lease ends."""

    async def hello(self, member: str, machine: str, owner: str, fingerprint: str) -> Joined:
        """Become a member. An earlier member of the same machine and owner is removed at once.

        Raises NameTaken, AnotherSite.
        """

    async def write(self, generation: str, member: str, turn: Turn) -> frozenset[str]:
        """Write a turn; returns the members whose inboxes did not take their payload.

        An inbox refuses if it has too much that is not read, or its member is gone. Raises Gone,
        GenerationChanged, EngineFull.
        """

    async def read(
        self,
        generation: str,
        member: str,
        log_id: str,
        inbox_id: str,
        wait_ms: int,
        beat: Beat | None = None,
    ) -> tuple[Sequence[LogEntry], Sequence[InboxEntry]]:
        """The entries after these IDs; waits up to ``wait_ms`` milliseconds for one of them.

        A ``beat`` is sent with it: what arrives meanwhile need not wait for its answer.

        Raises GenerationChanged; with a beat also Gone.
        """

    async def beat(self, generation: str, member: str, log_id: str, inbox_id: str) -> int:
        """Renew the lease; returns the engine's time in Unix milliseconds.

        The engine may remove the entries of the inbox up to its ID, and those of the log up to the
        lowest ID of all members. Raises Gone, GenerationChanged.
        """

    async def goodbye(self, generation: str, member: str) -> None:
        """Cease to be a member; the others learn that it does not return."""


def log_order(id: str) -> tuple[int, int]:
    """The ID as a pair of numbers, which compares as the entries are ordered."""
    milliseconds, _, number = id.partition("-")
    return int(milliseconds), int(number or 0)


def log_time(id: str) -> int:
    """When the entry was added: Unix time in milliseconds, by the engine's clock."""
    return log_order(id)[0]
