"""A client's connection without I/O: what it makes of what the server writes."""

from twisted.trial.unittest import TestCase

from cluster import Disconnected
from cluster.testing.conversation import Closed, Conversation, Refused, opening

OPEN = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


class ConversationTests(TestCase):
    def setUp(self) -> None:
        self.talk = Conversation()
        self.assertEqual(b"", self.talk.hear(OPEN))

    def test_messages(self) -> None:
        self.assertEqual(b"", self.talk.hear(b"\x81\x01a\x82\x01b"))
        self.assertEqual(["a", b"b"], list(self.talk.messages))
        self.assertEqual(101, self.talk.accepted().status)

    def test_what_is_no_message(self) -> None:
        self.assertEqual(b"\x82\x81\0\0\0\0b", self.talk.say(bytearray(b"b")))  # type: ignore[arg-type]
        for wrong in ({"a": 1}, 5, None):
            error = self.assertRaises(TypeError, self.talk.say, wrong)
            self.assertIn("for JSON: send_json", str(error))

    def test_pings_are_answered(self) -> None:
        self.assertEqual(b"\x8a\x82\0\0\0\0hi", self.talk.hear(b"\x89\x02hi"))

    def test_a_close_is_answered_once(self) -> None:
        self.assertEqual(b"\x88\x84\0\0\0\0\x03\xe8hi", self.talk.hear(b"\x88\x04\x03\xe8hi"))
        self.assertEqual(Closed(1000, "hi"), self.talk.closed)
        self.assertEqual(b"", self.talk.close(1000, ""))
        with self.assertRaises(Disconnected):
            self.talk.say("too late")

    def test_the_answer_to_our_close(self) -> None:
        self.assertEqual(b"\x88\x85\0\0\0\0\x03\xe8bye", self.talk.close(1000, "bye"))
        self.assertEqual(b"", self.talk.hear(b"\x88\x02\x03\xe8"))
        self.assertEqual(Closed(1000), self.talk.closed)

    def test_a_close_without_code(self) -> None:
        self.talk.hear(b"\x88\x00")
        self.assertEqual(Closed(1005), self.talk.closed)

    def test_a_lost_connection(self) -> None:
        self.talk.hear(b"", ended=True)
        self.assertTrue(self.talk.is_over)
        assert self.talk.closed is not None
        self.assertEqual(1006, self.talk.closed.code)

    def test_the_end_after_a_close(self) -> None:
        self.talk.hear(b"\x88\x02\x03\xe8")
        self.talk.hear(b"", ended=True)
        self.assertEqual(Closed(1000), self.talk.closed)


class AnswerTests(TestCase):
    def test_refused(self) -> None:
        talk = Conversation()
        talk.hear(b"HTTP/1.1 302 Found\r\nLocation: /login/\r\nContent-Length: 3\r\n\r\nno\n")
        with self.assertRaises(Refused) as caught:
            talk.accepted()
        self.assertEqual("302: no", str(caught.exception))
        self.assertEqual("/login/", caught.exception.headers["location"])

    def test_no_answer(self) -> None:
        talk = Conversation()
        talk.hear(b"HTTP/1.1 2", ended=True)
        with self.assertRaises(ConnectionError):
            talk.accepted()


class OpeningTests(TestCase):
    def test_what_replaces_what(self) -> None:
        headers = {"Host": "mine", "X-A": "1", "Origin": "other"}
        text = opening("/p", "theirs", headers, {"a": "1", "b": "2"}, [], "http://o").decode()
        for line in ("Host: mine", "x-a: 1", "origin: http://o", "cookie: a=1; b=2"):
            self.assertIn(f"\r\n{line}\r\n", text)
        self.assertNotIn("theirs", text)
        self.assertNotIn("Sec-WebSocket-Protocol", text)
