"""The message format c10k.v1: requests of clients and messages of feeds, byte for byte."""

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.django.feeds import message_format
from cluster.django.feeds.message_format import (
    InvalidRequest,
    MessageMemo,
    Ping,
    Subscribe,
    Unsubscribe,
    encode,
    encode_message,
    encode_pong,
    format_feed_position,
    parse_feed_position,
    parse_request,
)
from cluster.net.websocket.frames import binary_frame, text_frame
from tests import profiles  # noqa: F401  (loads it)


class RequestTests(SynchronousTestCase):
    def test_valid_requests(self) -> None:
        for text, request in {
            '{"subscribe": "live"}': Subscribe("live", None),
            '{"subscribe": "live", "since": null}': Subscribe("live", None),
            '{"subscribe": "live", "since": "a:7"}': Subscribe("live", "a:7"),
            '{"unsubscribe": "live", "later": 1}': Unsubscribe("live"),
            '{"ping": 7}': Ping(7),
            '{"ping": null}': Ping(None),
            '{"ping": {"a": [1.5, "é"]}}': Ping({"a": [1.5, "é"]}),
        }.items():
            self.assertEqual(parse_request(text), request)

    def test_invalid_requests(self) -> None:
        for text in (
            "",
            "hello",
            "[]",
            '"subscribe"',
            "{}",
            '{"subscribe": 1}',
            '{"subscribe": null}',
            '{"subscribe": "a", "since": 7}',
            '{"publish": "a"}',
            '{"ping": NaN}',
            '{"ping": -Infinity}',
            '{"ping": 1e999}',
            '{"ping": %s}' % ("9" * 10_000),
            "[" * 10_000,
            '{"ping": "%s"}' % ("x" * message_format.MAX_REQUEST),
        ):
            with self.assertRaises(InvalidRequest, msg=text[:40]):
                parse_request(text)

    def test_close_codes(self) -> None:
        for text, code in {"{": 1007, "{}": 1008, "1": 1008}.items():
            with self.assertRaises(InvalidRequest) as caught:
                parse_request(text)
            self.assertEqual(caught.exception.code, code)

    @given(st.text())
    def test_any_text_is_a_valid_or_an_invalid_request(self, text: str) -> None:
        try:
            parse_request(text)
        except InvalidRequest as error:
            self.assertTrue(str(error))


class MessageTests(SynchronousTestCase):
    def test_text(self) -> None:
        self.assertEqual(
            encode_message("live", text_frame("é\n".encode()), "ab:7"),
            '{"topic":"live","message":"é\\n","id":"ab:7"}'.encode(),
        )

    def test_without_history_there_is_no_id(self) -> None:
        self.assertEqual(
            encode_message("live", text_frame(b""), None), b'{"topic":"live","message":""}'
        )

    def test_binary(self) -> None:
        self.assertEqual(
            encode_message("live", binary_frame(b"\0\xff"), None),
            b'{"topic":"live","message":{"base64":"AP8="}}',
        )

    def test_false_members_are_sent(self) -> None:
        self.assertEqual(
            encode(topic="a", recovered=False, id=None), b'{"topic":"a","recovered":false}'
        )

    def test_pong(self) -> None:
        self.assertEqual(encode_pong(None), b'{"pong":null}')
        self.assertEqual(encode_pong({"a": "é"}), '{"pong":{"a":"é"}}'.encode())

    def test_half_a_surrogate_pair_is_no_error(self) -> None:
        request = parse_request('{"subscribe": "\\ud800"}')
        assert isinstance(request, Subscribe)
        self.assertEqual(json.loads(encode(error="no", topic=request.topic))["error"], "no")
        encode_pong("\ud800").decode()

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_messages_have_no_line_break(self, message: str) -> None:
        encoded = encode_message("t", text_frame(message.encode()), None)
        self.assertNotIn(b"\n", encoded)
        self.assertNotIn(b"\r", encoded)
        self.assertEqual(json.loads(encoded)["message"], message)


class MemoTests(SynchronousTestCase):
    def test_the_same_bytes_for_all_clients(self) -> None:
        memo = MessageMemo()
        frame = text_frame(b"hello")
        first = memo.encode("live", frame, "a:1")
        self.assertEqual(first, encode_message("live", frame, "a:1"))
        self.assertIs(memo.encode("live", text_frame(b"hello"), "a:1"), first)

    def test_other_topics_and_positions_are_other_messages(self) -> None:
        memo = MessageMemo()
        frame = text_frame(b"x")
        ways = {memo.encode(*key) for key in (("a", frame, None), ("b", frame, None))}
        ways |= {memo.encode("a", frame, position) for position in ("e:1", "e:2")}
        self.assertEqual(len(ways), 4)
        self.assertNotEqual(
            memo.encode("a", binary_frame(b"x"), None), memo.encode("a", frame, None)
        )

    def test_the_memo_is_bounded(self) -> None:
        self.patch(message_format, "MEMO_BYTES", 1000)
        memo = MessageMemo()
        for number in range(100):
            memo.encode("t", text_frame(b"%0100d" % number), None)
            self.assertLess(sum(map(len, memo._known.values())), 1000)


class FeedPositionTests(SynchronousTestCase):
    @given(st.dictionaries(st.text("ab/é&=%+ ~", min_size=1), st.text("abc:123", min_size=1)))
    def test_round_trip(self, positions: dict[str, str]) -> None:
        self.assertEqual(parse_feed_position(format_feed_position(positions)), positions)

    def test_the_format(self) -> None:
        place = format_feed_position({"chat/a b\n": "e1:5", "live": "e1:77"})
        self.assertEqual(place, "chat%2Fa%20b%0A=e1:5&live=e1:77")

    def test_invalid_positions(self) -> None:
        for text in ("", "&&&", "=", "live", "\0", "&".join(["a=1"] * 2000)):
            self.assertEqual(parse_feed_position(text), {}, text[:20])
        self.assertEqual(parse_feed_position("a=1&b"), {"a": "1"})
        self.assertEqual(parse_feed_position("a=" + "x" * 100_000), {})

    def test_one_that_is_too_long_is_cut_between_positions(self) -> None:
        """Half of a position would be an earlier one, whose messages would be sent again."""
        for shift in range(20):
            positions = {"t" * (1 + shift): "1f0c:123456"}
            positions |= {f"topic-{number}": "1f0c:123456" for number in range(900)}
            found = parse_feed_position(format_feed_position(positions))
            self.assertGreater(len(found), 300)
            self.assertEqual(set(found.values()), {"1f0c:123456"})
            self.assertEqual(list(found), list(positions)[: len(found)])
