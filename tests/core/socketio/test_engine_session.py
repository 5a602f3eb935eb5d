"""The state machine of one session: what each input decides."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.socketio.engine_decisions import (
    AnswerPoll,
    Closed,
    CloseProbe,
    CloseWebSocket,
    Decision,
    Deliver,
    Packets,
    RefusePoll,
    RefusePost,
    SendOnProbe,
    SendOnWebSocket,
    Upgraded,
)
from cluster.core.socketio.engine_packets import (
    CLOSE,
    MESSAGE,
    NOOP,
    OPEN,
    PING,
    PONG,
    UPGRADE,
)
from cluster.core.socketio.engine_session import POLLING, PROBE, WEBSOCKET, EngineSession
from tests import profiles

assert profiles

A, B, C = ((b"4%b" % name, False) for name in (b"a", b"b", b"c"))
CLOSED_POLL = AnswerPoll(((b"1", False),))
NOOP_POLL = AnswerPoll(((b"6", False),))
UNCOUNTED = ((b"1", False), (b"6", False))


class PollingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.session = EngineSession(POLLING)

    def test_packets_wait_for_a_get(self) -> None:
        self.assertEqual(self.session.send([A]), ())
        self.assertEqual(self.session.send([B]), ())
        self.assertEqual(self.session.queued_bytes, 4)
        self.assertEqual(self.session.poll_begins(), (AnswerPoll((A, B)),))
        self.assertEqual(self.session.queued_bytes, 0)
        self.assertFalse(self.session.poll_is_open)

    def test_a_get_waits_for_packets(self) -> None:
        self.assertEqual(self.session.poll_begins(), ())
        self.assertTrue(self.session.poll_is_open)
        self.assertEqual(self.session.send([]), ())
        self.assertEqual(self.session.send([A, B]), (AnswerPoll((A, B)),))

    def test_a_second_get(self) -> None:
        self.session.poll_begins()
        self.assertEqual(
            self.session.poll_begins(), (RefusePoll(), CLOSED_POLL, Closed("transport error"))
        )
        self.assertEqual(self.session.poll_begins(), (RefusePoll(),))

    def test_a_second_post(self) -> None:
        self.assertEqual(self.session.post_begins(), ())
        self.assertEqual(self.session.post_ended(), ())
        self.assertEqual(self.session.post_begins(), ())
        self.session.poll_begins()
        self.assertEqual(
            self.session.post_begins(), (RefusePost(), CLOSED_POLL, Closed("transport error"))
        )
        self.assertEqual(self.session.post_begins(), (RefusePost(),))

    def test_a_second_post_while_no_get_waits(self) -> None:
        self.session.post_begins()
        self.session.send([A])
        self.assertEqual(
            self.session.post_begins(), (RefusePost(), Closed("transport error", (), 1))
        )

    def test_a_get_that_was_answered_cannot_be_left(self) -> None:
        self.session.poll_begins()
        self.session.send([A])
        self.assertEqual(self.session.poll_left(), ())
        self.assertTrue(self.session.is_open)

    def test_a_get_whose_client_is_gone(self) -> None:
        self.session.poll_begins()
        self.assertEqual(self.session.poll_left(), (Closed("transport error"),))
        self.assertEqual(self.session.poll_left(), ())

    def test_packets_of_the_client(self) -> None:
        received = self.session.received
        self.assertEqual(received(MESSAGE, b"a", False), (Deliver(b"a", False),))
        self.assertEqual(received(MESSAGE, b"\0", True), (Deliver(b"\0", True),))
        self.assertEqual(received(PONG, b"", False), ())
        self.assertEqual(received(NOOP, b"", False), ())
        self.assertEqual(received(PING, b"x", False), ())
        self.assertEqual(self.session.poll_begins(), (AnswerPoll(((b"3x", False),)),))

    def test_the_client_closes(self) -> None:
        self.assertEqual(self.session.received(CLOSE, b"", False), (Closed("transport close"),))
        self.assertEqual(self.session.received(MESSAGE, b"", False), ())
        session = EngineSession(POLLING)
        session.poll_begins()
        self.assertEqual(
            session.received(CLOSE, b"", False), (NOOP_POLL, Closed("transport close"))
        )

    def test_invalid_packets(self) -> None:
        for kind in (OPEN, UPGRADE):
            session = EngineSession(POLLING)
            session.send([A])
            self.assertEqual(session.received(kind, b"", False), (Closed("parse error", (), 1),))
            self.assertEqual(session.invalid(), ())

    def test_pings(self) -> None:
        self.session.poll_begins()
        self.assertEqual(self.session.ping_due(), (AnswerPoll(((b"2", False),)),))
        self.session.poll_begins()
        self.assertEqual(self.session.pong_overdue(), (CLOSED_POLL, Closed("ping timeout")))
        self.assertEqual(self.session.ping_due(), ())

    def test_a_ping_for_which_no_get_comes(self) -> None:
        self.session.ping_due()
        self.assertEqual(self.session.pong_overdue(), (Closed("ping timeout", (), 1),))

    def test_the_server_closes(self) -> None:
        self.session.poll_begins()
        self.assertEqual(self.session.close("forced close"), (CLOSED_POLL, Closed("forced close")))
        self.assertEqual(self.session.close("forced close"), ())

    def test_the_server_closes_while_no_get_waits(self) -> None:
        self.session.send([A])
        self.assertEqual(
            self.session.close("forced close"), (Closed("forced close", (A, (b"1", False))),)
        )

    def test_drop_queue(self) -> None:
        self.session.send([A, B])
        self.assertEqual((self.session.drop_queue(), self.session.queued_bytes), (2, 0))
        self.assertEqual(self.session.poll_begins(), ())


class WebSocketTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.session = EngineSession(WEBSOCKET)

    def test_plain(self) -> None:
        self.assertTrue(self.session.is_plain_websocket)
        self.assertFalse(EngineSession(POLLING).is_plain_websocket)
        self.assertEqual(self.session.send([A]), (SendOnWebSocket((A,)),))
        self.assertEqual(self.session.ping_due(), (SendOnWebSocket(((b"2", False),)),))
        self.assertEqual(self.session.poll_begins(), (RefusePoll(),))
        self.assertEqual(self.session.post_begins(), (RefusePost(),))
        self.assertFalse(self.session.can_probe)

    def test_ends(self) -> None:
        for end, expected in (
            (EngineSession.websocket_closed, (Closed("transport close"),)),
            (EngineSession.invalid, (CloseWebSocket(), Closed("parse error"))),
            (EngineSession.pong_overdue, (CloseWebSocket(), Closed("ping timeout"))),
            (
                lambda session: session.close("forced close"),
                (CloseWebSocket(), Closed("forced close")),
            ),
            (
                lambda session: session.received(CLOSE, b"", False),
                (CloseWebSocket(), Closed("transport close")),
            ),
        ):
            session = EngineSession(WEBSOCKET)
            call: Any = end
            self.assertEqual(call(session), expected)
            self.assertFalse(session.is_open)
            self.assertEqual(call(session), ())


class UpgradeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.session = EngineSession(POLLING)
        self.assertTrue(self.session.can_probe)
        self.assertEqual(self.session.probe_opened(), ())
        self.assertFalse(self.session.can_probe)

    def probe(self) -> tuple[Any, ...]:
        return self.session.probe_received(PING, b"probe", False)

    def test_upgrade(self) -> None:
        self.session.poll_begins()
        self.assertEqual(self.probe(), (SendOnProbe(((b"3probe", False),)), NOOP_POLL))
        self.assertEqual(self.session.poll_begins(), (NOOP_POLL,))
        self.assertEqual(self.session.send([A]), ())
        self.assertEqual(
            self.session.probe_received(UPGRADE, b"", False),
            (Upgraded(), SendOnWebSocket((A,))),
        )
        self.assertTrue(self.session.is_plain_websocket)
        self.assertFalse(self.session.is_probing)
        self.assertEqual(self.session.probe_received(UPGRADE, b"", False), ())

    def test_requests_after_the_upgrade_are_refused(self) -> None:
        self.probe()
        self.session.probe_received(UPGRADE, b"", False)
        self.assertEqual(self.session.poll_begins(), (RefusePoll(),))
        self.assertEqual(self.session.post_begins(), (RefusePost(),))
        self.assertTrue(self.session.is_open)
        self.assertFalse(self.session.can_probe)

    def test_a_post_during_the_upgrade(self) -> None:
        self.probe()
        self.assertEqual(self.session.post_begins(), ())
        self.assertEqual(self.session.received(MESSAGE, b"a", False), (Deliver(b"a", False),))

    def test_the_client_closes_during_the_upgrade(self) -> None:
        self.assertEqual(
            self.session.received(CLOSE, b"", False), (CloseProbe(), Closed("transport close"))
        )

    def test_polling_continues_until_the_probe(self) -> None:
        self.session.poll_begins()
        self.assertEqual(self.session.send([A]), (AnswerPoll((A,)),))
        self.assertEqual(self.probe(), (SendOnProbe(((b"3probe", False),)),))

    def test_failures(self) -> None:
        for kind, payload in ((UPGRADE, b""), (PING, b""), (MESSAGE, b"a"), (CLOSE, b"")):
            session = EngineSession(POLLING)
            session.probe_opened()
            self.assertEqual(session.probe_received(kind, payload, False), (CloseProbe(),))
            self.assertTrue(session.can_probe)

    def test_what_was_held_when_a_probe_fails(self) -> None:
        for fail in (EngineSession.probe_overdue, EngineSession.invalid_on_probe):
            session = EngineSession(POLLING)
            session.probe_opened()
            session.probe_received(PING, b"probe", False)
            session.send([A])
            self.assertEqual(fail(session), (CloseProbe(),))
            self.assertEqual(fail(session), ())
            self.assertEqual(session.poll_begins(), (AnswerPoll((A,)),))
        self.probe()
        self.assertEqual(self.session.probe_closed(), ())

    def test_the_server_closes_the_session_before_the_probe(self) -> None:
        self.session.probe_opened()
        self.session.send([A])
        self.assertEqual(
            self.session.close("forced close"),
            (CloseProbe(), Closed("forced close", (A, (b"1", False)))),
        )

    def test_the_server_closes_the_session_when_the_upgrade_is_complete(self) -> None:
        self.probe()
        self.session.send([A])
        self.assertEqual(self.session.close("forced close"), ())
        self.assertEqual(self.session.close("server shutting down"), ())
        self.assertEqual(
            self.session.probe_received(UPGRADE, b"", False),
            (Upgraded(), SendOnWebSocket((A,)), CloseWebSocket(), Closed("forced close")),
        )

    def test_the_server_closes_the_session_when_the_upgrade_fails(self) -> None:
        self.probe()
        self.session.send([A])
        self.session.close("forced close")
        self.assertEqual(
            self.session.probe_overdue(),
            (CloseProbe(), Closed("forced close", (A, (b"1", False)))),
        )
        self.assertEqual(self.probe(), ())


class SequenceTests(SynchronousTestCase):
    def test_the_rules_hold_in_any_sequence(self) -> None:
        run_state_machine_as_test(SessionMachine)


class SessionMachine(RuleBasedStateMachine):
    """A caller that performs the decisions, and a client that notes the packets it receives."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.begin(POLLING)

    def begin(self, transport: str) -> None:
        self.session = EngineSession(transport)
        self.sent: list[tuple[bytes, bool]] = []
        self.received: list[tuple[bytes, bool]] = []
        self.get_waits = False
        self.probe_is_open = False
        self.is_probed = False
        self.is_closing = False
        self.has_websocket = transport == WEBSOCKET
        self.closed: Closed | None = None

    def perform(self, decisions: tuple[Decision, ...]) -> None:
        for decision in decisions:
            assert self.closed is None
            match decision:
                case AnswerPoll(packets):
                    assert self.get_waits and packets
                    self.get_waits = False
                    self.take(packets)
                case SendOnWebSocket(packets):
                    assert self.has_websocket
                    self.take(packets)
                case SendOnProbe():
                    assert self.probe_is_open
                    self.is_probed = True
                case Upgraded():
                    assert self.probe_is_open and not self.get_waits
                    self.probe_is_open, self.has_websocket = False, True
                case CloseProbe():
                    assert self.probe_is_open
                    self.probe_is_open = False
                case CloseWebSocket():
                    assert self.has_websocket
                    self.has_websocket = False
                case Closed(_, unsent, dropped):
                    self.closed = decision
                    self.take(unsent)
                    assert dropped == len(self.sent) - len(self.received)
                case _:
                    raise AssertionError(decision)

    def take(self, packets: Packets) -> None:
        self.received += [each for each in packets if each not in UNCOUNTED]

    @rule(transport=st.sampled_from((POLLING, WEBSOCKET)))
    @precondition(lambda self: self.closed is not None)
    def another_session(self, transport: str) -> None:
        self.begin(transport)

    @rule(count=st.integers(0, 2), is_binary=st.booleans())
    def send(self, count: int, is_binary: bool) -> None:
        packets = []
        for _ in range(count):
            self.number += 1
            packets.append((b"4%d" % self.number, is_binary))
        if self.session.is_open:
            self.sent += packets
        self.perform(self.session.send(packets))

    @rule()
    def ping_due(self) -> None:
        if self.session.is_open:
            self.sent.append((b"2", False))
        self.perform(self.session.ping_due())

    @rule(overlaps=st.booleans())
    def get(self, overlaps: bool) -> None:
        if self.get_waits and not overlaps:
            return
        is_served = self.closed is None and not self.has_websocket and not self.get_waits
        decisions = self.session.poll_begins()
        assert (RefusePoll() in decisions) is not is_served
        self.get_waits |= is_served
        self.perform(tuple(each for each in decisions if each != RefusePoll()))
        assert self.closed is None or not is_served

    @rule(overlaps=st.booleans())
    def post(self, overlaps: bool) -> None:
        if self.session.post_is_open and not overlaps:
            self.session.post_ended()
            return
        is_served = self.closed is None and not self.has_websocket and not overlaps
        decisions = self.session.post_begins()
        if is_served:
            assert decisions == ()
        self.perform(tuple(each for each in decisions if each != RefusePost()))

    @rule(is_binary=st.booleans())
    def message(self, is_binary: bool) -> None:
        expected = () if self.closed else (Deliver(b"a", is_binary),)
        assert self.session.received(MESSAGE, b"a", is_binary) == expected

    @rule(kind=st.sampled_from((PING, PONG, NOOP)))
    def client_sends(self, kind: int) -> None:
        if kind == PING and self.session.is_open:
            self.sent.append((b"3a", False))
        self.perform(self.session.received(kind, b"a", False))

    @rule(at_once=st.booleans())
    def probe(self, at_once: bool) -> None:
        if self.session.can_probe:
            assert not self.probe_is_open and not self.has_websocket
            self.probe_is_open = True
            self.perform(self.session.probe_opened())
            if not at_once:
                return
        self.perform(self.session.probe_received(PING, PROBE, False))

    @rule()
    def upgrade(self) -> None:
        self.perform(self.session.probe_received(UPGRADE, b"", False))
        assert not self.is_closing or self.closed is not None

    @rule(how=st.sampled_from(("closed", "invalid", "overdue")))
    def probe_fails(self, how: str) -> None:
        if how == "closed":
            if self.probe_is_open:
                self.probe_is_open = False
                self.perform(self.session.probe_closed())
        elif how == "invalid":
            self.perform(self.session.probe_received(MESSAGE, b"", False))
        else:
            self.perform(self.session.probe_overdue())

    @rule(how=st.sampled_from((OPEN, CLOSE, UPGRADE, "invalid", "pong", "get", "websocket")))
    @precondition(lambda self: self.number % 4 == 3)  # seldom, so that sessions last
    def session_fails(self, how: int | str) -> None:
        session = self.session
        if isinstance(how, int):
            self.perform(session.received(how, b"", False))
        elif how == "invalid":
            self.perform(session.invalid())
        elif how == "pong":
            self.perform(session.pong_overdue())
        elif how == "get":
            ends, self.get_waits = self.get_waits, False
            self.perform(session.poll_left())
            assert self.closed is not None or not ends
            return
        elif self.has_websocket:
            self.has_websocket = False
            self.perform(session.websocket_closed())
        else:
            return
        assert self.closed is not None

    @rule()
    @precondition(lambda self: self.number % 4 == 3)  # seldom, so that sessions last
    def close(self) -> None:
        is_open = self.session.is_open
        waits = self.is_probed and self.probe_is_open
        self.perform(self.session.close("forced close"))
        self.is_closing |= waits
        assert (self.closed is None) is waits
        assert self.received == self.sent or waits or not is_open

    @rule()
    def drop_queue(self) -> None:
        if self.session.is_open:
            assert self.session.drop_queue() == len(self.sent) - len(self.received)
            self.sent = self.received.copy()

    @invariant()
    def the_client_has_all_packets_in_order_but_the_queued(self) -> None:
        assert self.received == self.sent[: len(self.received)]
        if self.closed is None:
            queued = self.sent[len(self.received) :]
            assert self.session.queued_bytes == sum(len(data) for data, _ in queued)

    @invariant()
    def a_session_that_closes_waits_only_for_its_upgrade(self) -> None:
        assert not self.is_closing or self.closed is not None or self.is_probed

    @invariant()
    def nothing_waits_without_a_reason(self) -> None:
        if self.get_waits or self.has_websocket:
            assert not self.session.queued_bytes

    @invariant()
    def no_get_waits_while_an_answered_probe_is_open(self) -> None:
        self.is_probed &= self.probe_is_open
        assert not (self.is_probed and self.get_waits)

    @invariant()
    def the_state_is_that_of_the_caller(self) -> None:
        session = self.session
        assert session.is_open is (self.closed is None)
        assert session.poll_is_open is self.get_waits
        assert session.is_probing is self.probe_is_open
        assert session.is_plain_websocket is (self.has_websocket and self.closed is None)
        assert not (self.closed and (self.get_waits or self.probe_is_open or self.has_websocket))
