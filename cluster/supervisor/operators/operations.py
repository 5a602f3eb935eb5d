"""Operations: answers an operator's questions with what the nodes answer.

Each public method is one question (``what`` of control_connection.commands.Ask). A node that does
not answer in time is left out, and the answer names it in ``silent``.
"""

from collections.abc import Mapping, Sequence
from heapq import nlargest
from typing import Any, Protocol

from twisted.internet.defer import Deferred, TimeoutError, gatherResults, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from cluster.core.exceptions import OperationFailed
from cluster.supervisor.operators.scaling import Scaling
from cluster.supervisor.registration.roster import check_node

ANSWER_S = 5.0
"""Seconds that a node has for its answer."""

QUESTIONS = (
    "clients", "disconnect", "drain", "logs", "publish", "restart", "scale", "status", "topics",
    "undo_drain",
)  # fmt: skip


class Link(Protocol):
    """The control connection of a node."""

    def inspect(self, what: str, arguments: Mapping[str, Any]) -> "Deferred[Any]":
        """Call a method of the node's Inspection."""


class Source(Protocol):
    """The methods of the supervisor that the operations call."""

    scaling: Scaling

    def node_links(self) -> Mapping[str, Link]:
        """The control connections of the nodes that serve, by name."""

    def node_names(self) -> Sequence[str]:
        """The names of all nodes."""

    def status_document(self) -> "Deferred[dict[str, Any]]":
        """The content of /status.json."""

    def recent_log(self, after: int) -> tuple[list[bytes], int]:
        """The kept lines of the log after the first ``after`` ones, and how many there were.

        Raises OperationFailed if another program writes the log.
        """

    def restart(self) -> "Deferred[str]":
        """See Supervisor."""


class Operations:
    """Call ``ask``.

    Args:
        source: The supervisor.
        clock: The reactor.
    """

    def __init__(self, source: Source, clock: IReactorTime) -> None:
        self._source = source
        self._clock: Any = clock

    def ask(self, what: str, arguments: Mapping[str, Any]) -> "Deferred[Any]":
        """Answer a question.

        Args:
            what: One of QUESTIONS.
            arguments: The keyword arguments of the method with this name.

        Returns:
            A Deferred with a JSON value. It fails with OperationFailed, whose text is for the
            operator.
        """
        if what not in QUESTIONS:
            raise OperationFailed(f"this cluster does not know the command {what!r}")
        try:
            answer: Deferred[Any] = getattr(self, what)(**arguments)
        except TypeError as error:
            raise OperationFailed(f"{what}: {error}") from None
        return answer

    def status(self) -> "Deferred[dict[str, Any]]":
        """The content of /status.json."""
        return self._source.status_document()

    def drain(self, node: str) -> "Deferred[dict[str, Any]]":
        """Have a node finish its work and end; see Scaling."""
        return self._source.scaling.drain(node)

    def undo_drain(self, node: str) -> "Deferred[dict[str, Any]]":
        """Start a node that was drained; see Scaling."""
        return self._source.scaling.undo_drain(node)

    def scale(self, nodes: int) -> "Deferred[dict[str, Any]]":
        """Change the number of nodes; see Scaling."""
        return self._source.scaling.scale(nodes)

    def restart(self) -> "Deferred[dict[str, Any]]":
        """Replace all processes, one after the other: ``summary``, a sentence; see Supervisor."""
        return self._source.restart().addCallback(lambda summary: {"summary": summary})

    def logs(self, after: int = -1, limit: int = 1000) -> "Deferred[dict[str, Any]]":
        """Lines of the cluster's log.

        Args:
            after: ``next`` of the answer before; -1: the newest lines.
            limit: How many of the newest lines.

        Returns:
            A Deferred with ``lines``, ``next``, and ``missed``, the number of lines between that
            are not kept any more.
        """
        lines, total = self._source.recent_log(max(0, after))
        missed = max(0, total - after - len(lines)) if after >= 0 else 0
        shown = lines[-limit:] if limit > 0 else []
        texts = [line.decode(errors="backslashreplace") for line in shown]
        return succeed({"lines": texts, "next": total, "missed": missed})

    def topics(
        self, limit: int = 20, grouped: bool = False, timeout: float = ANSWER_S
    ) -> "Deferred[dict[str, Any]]":
        """The topics with the most subscribers in the cluster; see cluster.node.inspection.

        A topic that is not among the first ``limit`` of a node is not counted for that node.
        ``timeout``: seconds that a node has for its answer.
        """

        def merge(answers: dict[str, Any]) -> dict[str, Any]:
            rows: dict[str, dict[str, Any]] = {}
            for answer in answers.values():
                for row in answer["topics"]:
                    known = rows.get(row["topic"])
                    if known is None:
                        rows[row["topic"]] = dict(row)
                    else:
                        known["subscribers"] += row["subscribers"]
                        known["history"] = max(known["history"], row["history"])
                        known["topics"] = max(known["topics"], row["topics"])
            busiest = nlargest(limit, rows.values(), key=lambda row: int(row["subscribers"]))
            return {"topics": busiest, "silent": self._silent(answers)}

        arguments = {"limit": limit, "grouped": grouped}
        return self._ask_all("topics", arguments, timeout=timeout).addCallback(merge)

    def clients(
        self, limit: int = 100, node: str = "", **wanted: str
    ) -> "Deferred[dict[str, Any]]":
        """The clients that fit a filter: see cluster.node.inspection.Filter."""

        def merge(answers: dict[str, Any]) -> dict[str, Any]:
            rows = [
                {"node": name, **row}
                for name, answer in answers.items()
                for row in answer["clients"]
            ]
            total = sum(answer["total"] for answer in answers.values())
            return {"total": total, "clients": rows[:limit], "silent": self._silent(answers, node)}

        return self._ask_all("clients", {"limit": limit, **wanted}, node).addCallback(merge)

    def disconnect(
        self, node: str = "", code: int = 1008, reason: str = "", **wanted: str
    ) -> "Deferred[dict[str, Any]]":
        """Disconnect the clients that fit a filter."""

        def merge(answers: dict[str, Any]) -> dict[str, Any]:
            total = sum(answer["disconnected"] for answer in answers.values())
            return {"disconnected": total, "silent": self._silent(answers, node)}

        arguments: dict[str, Any] = {"code": code, "reason": reason, **wanted}
        return self._ask_all("disconnect", arguments, node).addCallback(merge)

    def publish(self, topic: str, message: str) -> "Deferred[dict[str, Any]]":
        """Publish a message at any node: ``nodes``, the number of nodes with subscribers."""
        links = self._source.node_links()
        if not links:
            raise OperationFailed("no node serves")
        name, link = next(iter(links.items()))

        def unanswered(failure: Failure) -> Failure:
            if failure.check(TimeoutError):
                raise OperationFailed(f"{name} does not answer; it may publish the message later")
            if failure.check(ConnectionLost, ConnectionDone):
                raise OperationFailed(f"{name} has ended, perhaps before it published the message")
            return failure

        asked = link.inspect("publish", {"topic": topic, "message": message})
        return asked.addTimeout(ANSWER_S, self._clock).addErrback(unanswered)

    def _ask_all(
        self, what: str, arguments: Mapping[str, Any], node: str = "", timeout: float = ANSWER_S
    ) -> "Deferred[dict[str, Any]]":
        """The answers by node; only of one node, if it is given."""
        if node:
            check_node(node, self._source.node_names())
        links = {
            name: link for name, link in self._source.node_links().items() if node in ("", name)
        }

        def collect(found: list[Any]) -> dict[str, Any]:
            answers = dict(zip(links, found, strict=True))
            return {name: answer for name, answer in answers.items() if answer is not None}

        asked = [
            link.inspect(what, arguments).addTimeout(timeout, self._clock).addErrback(_unanswered)
            for link in links.values()
        ]
        return gatherResults(asked, consumeErrors=True).addCallback(collect).addErrback(_first)

    def _silent(self, answers: Mapping[str, Any], node: str = "") -> list[str]:
        asked = [node] if node else self._source.node_names()
        return [name for name in asked if name not in answers]


def _unanswered(failure: Any) -> None:
    """The node has left or is too slow; an error that it reports is passed on."""
    if failure.check(OperationFailed):
        failure.raiseException()


def _first(failure: Any) -> Any:
    """The error inside of gatherResults' FirstError."""
    return failure.value.subFailure
