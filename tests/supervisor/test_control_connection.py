"""Tests of cluster.supervisor.control_connection: both ends, connected in memory."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IUNIXTransport
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from cluster.core.exceptions import OperationFailed
from cluster.supervisor.control_connection.child_link import ChildLink, ControlFactory
from cluster.supervisor.control_connection.commands import Ask, RegistrationRefused
from cluster.supervisor.control_connection.supervisor_link import MAX_REASON, SupervisorLink


@implementer(IUNIXTransport)
class Pipe:
    """One end of a Unix connection in memory. Data waits until ``pump`` delivers it."""

    def __init__(self, queue: deque[tuple[Any, Any]]) -> None:
        self._queue = queue
        self.other: Any = None

    def write(self, data: bytes) -> None:
        self._queue.append((self.other.dataReceived, data))

    def writeSequence(self, parts: Iterable[bytes]) -> None:
        self.write(b"".join(parts))

    def sendFileDescriptor(self, descriptor: int) -> None:
        self._queue.append((self.other.fileDescriptorReceived, descriptor))

    def loseConnection(self) -> None:
        self._queue.append((self.other.connectionLost, Failure(ConnectionLost())))

    def getPeer(self) -> Any:
        return "peer"

    getHost = getPeer


def join(one: amp.AMP, other: amp.AMP) -> Callable[[], None]:
    """Connect two protocols; the returned function delivers all bytes that they have written."""
    queue: deque[tuple[Any, Any]] = deque()
    first, second = Pipe(queue), Pipe(queue)
    first.other, second.other = other, one
    other.makeConnection(second)
    one.makeConnection(first)

    def pump() -> None:
        while queue:
            deliver, what = queue.popleft()
            deliver(what)

    return pump


class RecordingRegistry:
    """A supervisor that records its calls."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.refusal: str | None = None

    def registered(self, link: ChildLink, slot: int, pid: int) -> dict[str, Any]:
        if self.refusal:
            raise RegistrationRefused(self.refusal)
        self.events.append(("registered", slot, pid))
        return {"name": f"node{slot}", "drain_timeout": 10.0}

    def listening_sockets(self, slot: int) -> list[tuple[int, int, str]]:
        return [(40, 2, "tcp:8000"), (41, 10, r"tcp:8000:interface=\:\:1")]

    def standby(self, link: ChildLink, pid: int) -> "Deferred[int]":
        self.events.append(("standby", pid))
        self.slot: Deferred[int] = Deferred()
        return self.slot

    def certificate(self, endpoint: str) -> str:
        return "PEM" if endpoint.endswith("1") else ""

    def became_ready(self, link: ChildLink) -> None:
        self.events.append(("ready", link.slot))

    def start_failed(self, link: ChildLink, reason: str, permanent: bool) -> None:
        self.events.append(("failed", link.slot, reason, permanent))

    def left(self, link: ChildLink) -> None:
        self.events.append(("left", link.slot))

    def ask(self, what: str, arguments: Mapping[str, Any]) -> "Deferred[Any]":
        self.asked = what, arguments
        self.answer: Deferred[Any] = Deferred()
        return self.answer


class ControlTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.registry = RecordingRegistry()
        self.parent = ControlFactory(self.registry, self.registry).buildProtocol(None)
        self.events: list[str] = []
        self.statistics: Any = {"ready": True, "connections": 3}
        self.child = SupervisorLink(
            lambda: self.events.append("made"),
            lambda: self.statistics,
            lambda handing_over: self.events.append("hand over" if handing_over else "stop"),
            lambda: self.events.append("lost"),
        )
        self.pump = join(self.child, self.parent)

    def register(self) -> "Deferred[dict[str, Any]]":
        registered = self.child.register(2, 4711)
        self.pump()
        return registered

    def stats(self) -> "Deferred[dict[str, Any]]":
        answered = self.parent.stats()
        self.pump()
        return answered

    def test_registering_returns_configuration_and_sockets(self) -> None:
        config = self.successResultOf(self.register())
        self.assertEqual(config, {"name": "node2", "drain_timeout": 10.0})
        self.assertEqual(
            self.child.listening_sockets,
            [(40, 2, "tcp:8000", ""), (41, 10, r"tcp:8000:interface=\:\:1", "PEM")],
        )
        self.assertEqual(self.registry.events, [("registered", 2, 4711)])
        self.assertEqual((self.parent.slot, self.parent.pid), (2, 4711))

    def test_an_unknown_process_is_refused(self) -> None:
        self.registry.refusal = "process 4711 is not node2 of this cluster"
        failures: list[Failure] = []
        # Add the errback at once: AMP closes the connection for an unhandled error.
        self.child.register(2, 4711).addErrback(failures.append)
        self.pump()
        self.assertIsInstance(failures[0].value, RegistrationRefused)
        self.assertIn("is not node2", str(failures[0].value))
        self.parent.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.registry.events, [])

    def test_the_registry_is_notified_of_ready(self) -> None:
        self.register()
        told = self.child.ready()
        self.pump()
        self.successResultOf(told)
        self.assertEqual(self.registry.events[-1], ("ready", 2))

    def test_the_registry_is_notified_of_a_failed_start(self) -> None:
        self.register()
        reported = self.child.start_failed("x" * 100_000, True)
        self.pump()
        self.successResultOf(reported)
        self.assertEqual(self.registry.events[-1], ("failed", 2, "x" * MAX_REASON, True))

    def test_a_failed_start_of_a_refused_child_is_ignored(self) -> None:
        reported = self.child.start_failed("refused", False)
        self.pump()
        self.successResultOf(reported)
        self.assertEqual(self.registry.events, [])

    def test_the_registry_is_notified_of_a_spare_process_that_leaves(self) -> None:
        self.child.standby(4711).addErrback(lambda _: None)
        self.pump()
        self.parent.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.registry.events, [("standby", 4711), ("left", None)])
        self.assertEqual(self.parent.pid, 4711)

    def test_the_supervisor_receives_the_statistics(self) -> None:
        self.assertEqual(self.successResultOf(self.stats()), self.statistics)

    def test_stats_that_fail_do_not_end_the_connection(self) -> None:
        self.statistics = object()  # cannot be encoded as JSON
        self.assertEqual(self.successResultOf(self.stats()), {})
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertEqual(self.events, ["made"])

    def test_the_child_is_notified_of_stop(self) -> None:
        self.parent.stop()
        self.pump()
        self.assertEqual(self.events, ["made", "stop"])

    def test_the_child_is_notified_when_the_connection_is_lost(self) -> None:
        self.child.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.events, ["made", "lost"])

    def test_the_registry_is_notified_when_the_connection_is_lost(self) -> None:
        self.register()
        self.parent.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.registry.events[-1], ("left", 2))
        self.failureResultOf(self.parent.stats())
        self.parent.stop()  # no error


class OperatorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.registry = RecordingRegistry()
        self.parent = ControlFactory(self.registry, self.registry).buildProtocol(None)
        self.operator = amp.AMP()
        self.pump = join(self.operator, self.parent)

    def ask(self) -> "Deferred[dict[str, Any]]":
        asked: Deferred[dict[str, Any]] = self.operator.callRemote(
            Ask, what="drain", arguments={"node": "node1"}
        )
        self.pump()
        return asked

    def test_a_command_is_answered_when_it_has_ended(self) -> None:
        done = self.ask()
        self.assertNoResult(done)
        self.assertEqual(self.registry.asked, ("drain", {"node": "node1"}))
        self.registry.answer.callback({"state": "drained"})
        self.pump()
        self.assertEqual(self.successResultOf(done), {"answer": {"state": "drained"}})

    def test_a_command_that_fails_is_answered_with_the_reason(self) -> None:
        failures: list[Failure] = []
        self.ask().addErrback(failures.append)
        self.registry.answer.errback(OperationFailed("no app"))
        self.pump()
        self.assertEqual([str(each.value) for each in failures], ["no app"])

    def test_a_bug_does_not_end_the_connection(self) -> None:
        failures: list[Failure] = []
        self.ask().addErrback(failures.append)
        self.registry.answer.errback(ZeroDivisionError())
        self.pump()
        self.assertEqual(
            [str(each.value) for each in failures], ["internal error; the log has the reason"]
        )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.ask()
        self.registry.answer.callback(None)

    def test_an_operator_who_does_not_wait_for_the_end(self) -> None:
        self.ask().addErrback(lambda _: None)
        self.parent.connectionLost(Failure(ConnectionLost()))
        self.registry.answer.callback({"state": "drained"})
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.registry.events, [])
