"""The slot of each node: its listening sockets, which outlive its processes.

Connections that arrive while a slot's process is being replaced wait in the kernel's queue. The
rules:

* a slot without a serving process keeps its sockets for SLOT_GRACE_S seconds; then they are closed,
  so that the kernel distributes new connections among the other slots;
* after that the next process receives new sockets on the same ports, and listens on them when it
  serves: no connection waits for a process that may never be ready;
* these sockets are closed at once if that process ends before it is ready;
* a socket that only root could open again is not closed, but stops listening, until the slot's next
  process listens on it;
* all slots share one socket for a ``unix:`` address, which the supervisor keeps open: connections
  wait in its queue while no process serves;
* a slot that is retired first takes no new connections (cluster.net.connection_filter), and is
  closed when its process has accepted those of its queues;
* a starting process that received the old sockets within SLOT_GRACE_S holds them open anyway, so
  the slot keeps them, too: until that process ends, or permanently if it becomes ready.
"""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from cluster.core.exceptions import ConfigurationError
from cluster.net import listening_sockets
from cluster.net.addresses import Address
from cluster.net.connection_filter import (
    drop_new_connections,
    queued_connections,
    take_new_connections,
)
from cluster.net.unix_listener import UnixListener

SLOT_GRACE_S = 5.0
"""Seconds for which connections in a slot's queue wait for the next process, which usually starts
in one or two."""


@dataclass(slots=True, eq=False)
class _Slot:
    name: str
    sockets: list[socket.socket] = field(default_factory=list)
    closing: IDelayedCall | None = None
    """While no process serves: the delayed call that closes the sockets."""
    reopened: bool = False
    """Whether the sockets are open only for a process that has not been ready yet."""
    starting: bool = False
    """Whether a process that has not been ready yet has the sockets."""
    silent: dict[str, socket.socket] = field(default_factory=dict)
    """While the slot is closed: sockets that cannot be opened again, by address."""

    def keep(self) -> None:
        """Cancel the delayed close."""
        if self.closing is not None:
            self.closing.cancel()
            self.closing = None


class ListeningSlots:
    """One slot for each name, numbered from 0; each has a socket for each address.

    Call ``open`` first and ``close`` at the end. In between, call ``served`` when a process becomes
    ready, and ``vacated`` when one has ended.

    Args:
        names: The names of the slots.
        listens: The addresses to listen on.
        clock: The clock of the reactor.
    """

    log = Logger()

    def __init__(
        self, names: Sequence[str], listens: Sequence[Address], clock: IReactorTime
    ) -> None:
        self._wanted = listens
        self._slots = [_Slot(name) for name in names]
        self._clock = clock
        self._unix: dict[str, UnixListener] = {}
        self.listens: list[Address] = []
        """The addresses with their real ports; empty before ``open``."""

    def open(self) -> None:
        """Open all sockets. If one cannot be opened, close all and raise ConfigurationError."""
        self.listens, opened = listening_sockets.open_slots(
            self._wanted, len(self._slots), self._unix
        )
        for slot, its_sockets in zip(self._slots, opened, strict=True):
            slot.sockets = its_sockets

    def is_open(self, number: int) -> bool:
        """Whether a slot accepts connections."""
        return bool(self._slots[number].sockets)

    def sockets_of(self, number: int) -> list[tuple[int, int, str]]:
        """An open slot's sockets for its process: (descriptor, family, endpoint)."""
        return [
            (sock.fileno(), address.family, address.text)
            for sock, address in zip(self._slots[number].sockets, self.listens, strict=True)
        ]

    def reopen(self, number: int) -> None:
        """Open a slot for its next process, unless it is open.

        Raises:
            ConfigurationError: Another program has taken the port meanwhile.
        """
        slot = self._slots[number]
        if slot.sockets:
            slot.starting = True
            return
        # If all slots are closed, another program may have taken the port.
        shared = any(other.sockets for other in self._slots)
        opened: list[socket.socket] = []
        try:
            for address in self.listens:
                if address.text in slot.silent:
                    opened.append(slot.silent.pop(address.text))
                    take_new_connections(opened[-1])
                elif address.is_unix:
                    opened.append(self._unix[address.host].duplicate())
                else:
                    opened.append(listening_sockets.reserve(address, shared))
        except ConfigurationError:
            listening_sockets.close_all(opened)
            raise
        slot.sockets = opened
        slot.reopened = slot.starting = True

    def add(self, name: str) -> None:
        """Add a slot after the last one, and open it for its first process.

        Raises:
            ConfigurationError: A socket cannot be opened. There is no new slot.
        """
        self._slots.append(_Slot(name))
        try:
            self.reopen(len(self._slots) - 1)
        except ConfigurationError:
            del self._slots[-1]
            raise

    def remove_last(self) -> None:
        """Remove the last slot, which is shut."""
        slot = self._slots.pop()
        listening_sockets.close_all(list(slot.silent.values()))

    def retire(self, number: int) -> None:
        """Take no new connections; wait until ``queued`` is 0, and call ``shut``."""
        for sock in self._tcp_sockets(number):
            try:
                drop_new_connections(sock)
            except OSError as error:
                self.log.warn(
                    "{name}: connections may be reset, because there is no socket filter: {reason}",
                    name=self._slots[number].name,
                    reason=error.strerror,
                )

    def queued(self, number: int) -> int:
        """How many connections wait for the process of a slot alone."""
        return sum(map(queued_connections, self._tcp_sockets(number)))

    def _tcp_sockets(self, number: int) -> list[socket.socket]:
        slot = self._slots[number]
        pairs = zip(slot.sockets, self.listens[: len(slot.sockets)], strict=True)
        return [sock for sock, address in pairs if not address.is_unix]

    def shut(self, number: int) -> None:
        """Close the sockets of a slot; the next process receives new ones."""
        slot = self._slots[number]
        slot.keep()
        if slot.sockets:
            self._close(slot)

    def served(self, number: int) -> None:
        """The slot's process has become ready."""
        slot = self._slots[number]
        slot.reopened = slot.starting = False
        slot.keep()

    def vacated(self, number: int) -> None:
        """The slot's process has ended."""
        slot = self._slots[number]
        slot.starting = False
        if slot.reopened:
            self._close(slot)
        elif slot.closing is None and slot.sockets:
            slot.closing = self._clock.callLater(SLOT_GRACE_S, self._give_up, slot)

    def close(self) -> None:
        """Close all slots."""
        for slot in self._slots:
            slot.keep()
            listening_sockets.close_all([*slot.sockets, *slot.silent.values()])
            slot.sockets = []
            slot.silent.clear()
        listening_sockets.release_all(self._unix)

    def _close(self, slot: _Slot) -> None:
        """Let the kernel distribute new connections among the other slots."""
        for sock, address in zip(slot.sockets, self.listens, strict=True):
            if listening_sockets.needs_privileges(address) and os.geteuid() != 0:
                listening_sockets.silence(sock)
                slot.silent[address.text] = sock
            else:
                sock.close()
        slot.sockets = []
        slot.reopened = False

    def _give_up(self, slot: _Slot) -> None:
        slot.closing = None
        if slot.starting:
            slot.reopened = True
            return
        self.log.warn(
            "{name} has had no serving process for {seconds:.0f} s:"
            " new connections go to the other nodes",
            name=slot.name,
            seconds=SLOT_GRACE_S,
        )
        self._close(slot)
