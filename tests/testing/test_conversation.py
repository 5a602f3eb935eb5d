"""Tests of cluster.testing.conversation: bytes from the server, and the replies."""

from twisted.trial.unittest import TestCase

from cluster import Disconnected
from cluster.testing.conversation import Closed, Conversation, Refused, opening

OPEN = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


class ConversationTests(TestCase):
    def setUp(self) -> None:
        self.conversation = Conversation()
        self.assertEqual(b"", self.conversation.receive_data(OPEN))

    def test_messages(self) -> None:
        self.assertEqual(b"", self.conversation.receive_data(b"\x81\x01a\x82\x01b"))
        self.assertEqual(["a", b"b"], list(self.conversation.messages))
        self.assertEqual(101, self.conversation.accepted().status)

    def test_messages_of_a_wrong_type(self) -> None:
        self.assertEqual(b"\x82\x81\0\0\0\0b", self.conversation.message_frame(bytearray(b"b")))  # type: ignore[arg-type]
        for wrong in ({"a": 1}, 5, None):
            error = self.assertRaises(TypeError, self.conversation.message_frame, wrong)
            self.assertIn("for JSON: send_json", str(error))

    def test_pings_are_answered(self) -> None:
        self.assertEqual(b"\x8a\x82\0\0\0\0hi", self.conversation.receive_data(b"\x89\x02hi"))

    def test_a_close_is_answered_once(self) -> None:
        self.assertEqual(
            b"\x88\x84\0\0\0\0\x03\xe8hi", self.conversation.receive_data(b"\x88\x04\x03\xe8hi")
        )
        self.assertEqual(Closed(1000, "hi"), self.conversation.closed)
        self.assertEqual(b"", self.conversation.close_frame(1000, ""))
        with self.assertRaises(Disconnected):
            self.conversation.message_frame("too late")

    def test_the_servers_answer_to_a_close(self) -> None:
        self.assertEqual(b"\x88\x85\0\0\0\0\x03\xe8bye", self.conversation.close_frame(1000, "bye"))
        self.assertEqual(b"", self.conversation.receive_data(b"\x88\x02\x03\xe8"))
        self.assertEqual(Closed(1000), self.conversation.closed)

    def test_a_close_without_code(self) -> None:
        self.conversation.receive_data(b"\x88\x00")
        self.assertEqual(Closed(1005), self.conversation.closed)

    def test_a_lost_connection(self) -> None:
        self.conversation.receive_data(b"", ended=True)
        self.assertTrue(self.conversation.is_over)
        assert self.conversation.closed is not None
        self.assertEqual(1006, self.conversation.closed.code)

    def test_the_end_after_a_close(self) -> None:
        self.conversation.receive_data(b"\x88\x02\x03\xe8")
        self.conversation.receive_data(b"", ended=True)
        self.assertEqual(Closed(1000), self.conversation.closed)


class AnswerTests(TestCase):
    def test_refused(self) -> None:
        conversation = Conversation()
        conversation.receive_data(
            b"HTTP/1.1 302 Found\r\nLocation: /login/\r\nContent-Length: 3\r\n\r\nno\n"
        )
        with self.assertRaises(Refused) as caught:
            conversation.accepted()
        self.assertEqual("302: no", str(caught.exception))
        self.assertEqual("/login/", caught.exception.headers["location"])

    def test_no_answer(self) -> None:
        conversation = Conversation()
        conversation.receive_data(b"HTTP/1.1 2", ended=True)
        with self.assertRaises(ConnectionError):
            conversation.accepted()


class OpeningTests(TestCase):
    def test_given_headers_replace_the_defaults(self) -> None:
        headers = {"Host": "mine", "X-A": "1", "Origin": "other"}
        text = opening("/p", "theirs", headers, {"a": "1", "b": "2"}, [], "http://o").decode()
        for line in ("Host: mine", "x-a: 1", "origin: http://o", "cookie: a=1; b=2"):
            self.assertIn(f"\r\n{line}\r\n", text)
        self.assertNotIn("theirs", text)
        self.assertNotIn("Sec-WebSocket-Protocol", text)
