"""The state machine of one session: what each input decides."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.socketio.engine_packets import (
    CLOSE,
    MESSAGE,
    NOOP,
    OPEN,
    PING,
    PONG,
    UPGRADE,
)
from cluster.core.socketio.engine_session import (
    POLLING,
    WEBSOCKET,
    AnswerPoll,
    Closed,
    CloseProbe,
    CloseWebSocket,
    Deliver,
    EngineSession,
    RefusePoll,
    RefusePost,
    SendOnProbe,
    SendOnWebSocket,
    Upgraded,
)

A, B, C = ((b"4%b" % name, False) for name in (b"a", b"b", b"c"))
CLOSED_POLL = AnswerPoll(((b"1", False),))
NOOP_POLL = AnswerPoll(((b"6", False),))


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

    def test_before_the_probe_polling_goes_on(self) -> None:
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

    def test_the_session_ends(self) -> None:
        self.probe()
        self.session.send([A])
        self.assertEqual(
            self.session.close("forced close"),
            (CloseProbe(), Closed("forced close", (A, (b"1", False)))),
        )
        self.assertEqual(self.probe(), ())


class Client:
    """A client and a server that follow the protocol, in any order of events."""

    def __init__(self) -> None:
        self.session = EngineSession(POLLING)
        self.received: list[bytes] = []
        self.sent: list[bytes] = []
        self.is_upgraded = False

    def perform(self, decisions: tuple[Any, ...]) -> None:
        for decision in decisions:
            match decision:
                case AnswerPoll(packets) | SendOnWebSocket(packets):
                    if isinstance(decision, SendOnWebSocket):
                        assert self.is_upgraded
                    self.received += [data for data, _ in packets if data[:1] == b"4"]
                case Upgraded():
                    self.is_upgraded = True
                case Closed():
                    raise AssertionError("closed")

    def do(self, event: str) -> None:
        session = self.session
        if event == "send":
            data = b"4%d" % len(self.sent)
            self.sent.append(data)
            self.perform(session.send([(data, False)]))
        elif event == "poll" and not self.is_upgraded and not session.poll_is_open:
            self.perform(session.poll_begins())
        elif event == "open" and session.can_probe:
            self.perform(session.probe_opened())
        elif event == "probe" and session.is_probing:
            self.perform(session.probe_received(PING, b"probe", False))
        elif event == "upgrade" and session.is_probing and session._is_probed:
            self.perform(session.probe_received(UPGRADE, b"", False))
        elif event == "lose" and session.is_probing:
            self.perform(session.probe_closed())


class AnyOrderTests(SynchronousTestCase):
    EVENTS = ("send", "poll", "open", "probe", "upgrade", "lose")

    @settings(deadline=None)
    @given(st.lists(st.sampled_from(EVENTS), max_size=40))
    def test_nothing_is_lost_or_reordered(self, events: list[str]) -> None:
        client = Client()
        for event in (*events, "lose", "poll", "poll"):
            client.do(event)
        self.assertEqual(client.received, client.sent)
