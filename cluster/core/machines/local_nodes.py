"""The nodes of this machine, as they know each other and the nodes of other machines.

The rules:

* the name of a node ends with ``@MACHINE``, so that names are unique on all machines. Others are
  rejected;
* joining, subscriptions and presence of the nodes of this machine take effect at once, without the
  log. So they reach each other, whatever happens to the engine and to other machines;
* to a node, an agreed state that was replaced is a broker that was replaced. ``reset`` asks all
  nodes for Hello, and each then sends everything again: subscriptions, presence, arrivals, what it
  retains, and what was not acknowledged. Its messages before the Hello are ignored;
* Welcome has the nodes of all machines, and is followed by their subscriptions and presence;
* a new node waits for Welcome while this machine joins. Otherwise each node that starts together
  with its machine would come twice, and the second time as one that the others have missed.
"""

from collections.abc import Callable

from cluster.core import wire
from cluster.core.broker_state.exchange import Exchange, Outgoing
from cluster.core.machines.names import machine_of

OVERLAY = (wire.Hello, wire.NodeSubscriptions, wire.PresenceUpdate, wire.Goodbye)
"""Messages that take effect here, and are also written to the log."""

LOGGED = (wire.Arrive, wire.Withdraw, wire.Retain, wire.Restore, wire.Query)
"""Messages that take effect only through the log."""


class LocalExchange(Exchange):
    """An Exchange for joining, subscriptions and presence of the nodes of one machine.

    ``remote`` returns the nodes of other machines, each with what must be sent about it.
    """

    def __init__(self, epoch: str, remote: Callable[[], dict[str, list[wire.Message]]]) -> None:
        super().__init__(epoch)
        self._remote = remote

    def _welcome(self, node: str, others: tuple[str, ...]) -> Outgoing:
        remote = self._remote()
        messages: list[wire.Message] = [wire.Welcome(self.epoch, (*others, *remote))]
        for other in others:
            messages += self.state_of(other)
        for state in remote.values():
            messages += state
        return [(node, message) for message in messages]


class LocalNodes:
    """``epoch`` is unique for each process; ``remote`` as for LocalExchange."""

    def __init__(
        self, machine: str, epoch: str, remote: Callable[[], dict[str, list[wire.Message]]]
    ) -> None:
        self._machine = machine
        self._epoch = epoch
        self._remote = remote
        self._resets = 0
        self._asked: set[str] = set()
        self._waiting: dict[str, wire.Hello] | None = {}
        self._exchange = LocalExchange(f"{epoch}x0", remote)

    def __contains__(self, node: str) -> bool:
        """Whether a node is live."""
        return node in self._exchange

    @property
    def names(self) -> tuple[str, ...]:
        """The live nodes."""
        return self._exchange.nodes

    def receive(self, node: str, message: wire.Message) -> tuple[Outgoing, wire.Message | None]:
        """Process a message; returns what to send, and what must be written to the log."""
        if isinstance(message, wire.Hello):
            if machine_of(node) != self._machine:
                reason = (
                    f"the broker of machine {self._machine} accepts only nodes that have --machine"
                    f" {self._machine}, not {node}"
                )
                return [(node, wire.Rejected(reason))], None
            self._asked.discard(node)
            if self._waiting is not None and node not in self._exchange:
                self._waiting[node] = message
                return [], None
        elif node not in self._exchange:
            if node in self._asked:
                return [], None
            self._asked.add(node)
            return [(node, wire.UnknownNode())], None
        if isinstance(message, LOGGED):
            return [], message
        was_live = node in self._exchange
        outgoing = self._exchange.receive(node, message)
        if not isinstance(message, OVERLAY):
            return outgoing, None
        if isinstance(message, wire.Hello) and node not in self._exchange:  # another version
            return outgoing, wire.Left(node) if was_live else None
        return outgoing, message

    def leave(self, node: str, ended: bool) -> tuple[Outgoing, wire.Message | None]:
        """Remove a node that is gone; returns as ``receive`` does."""
        self._asked.discard(node)
        if self._waiting is not None:
            self._waiting.pop(node, None)
        event = wire.Left(node, ended) if node in self._exchange else None
        return self._exchange.leave(node, ended), event

    def reset(self) -> Outgoing:
        """Forget all nodes, and ask them for Hello, unless they are asked already."""
        self._resets += 1
        names = self.names
        self._asked.update(names)
        self._exchange = LocalExchange(f"{self._epoch}x{self._resets}", self._remote)
        return [(node, wire.UnknownNode()) for node in names]

    def hold(self) -> None:
        """Let new nodes wait for Welcome."""
        if self._waiting is None:
            self._waiting = {}

    def admit(self) -> list[tuple[str, wire.Hello]]:
        """Let new nodes wait no longer. Returns the Hellos of those that wait: receive them now."""
        waiting, self._waiting = self._waiting or {}, None
        return list(waiting.items())
