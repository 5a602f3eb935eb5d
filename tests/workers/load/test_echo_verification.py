from twisted.trial.unittest import SynchronousTestCase

from workers.load.echo_verification import (
    CLIENT_MESSAGES,
    SERVER_MESSAGES,
    Transcript,
    WrongTranscript,
)


class TranscriptTests(SynchronousTestCase):
    def wrong(self, transcript: Transcript, *messages: bytes) -> str:
        return str(self.assertRaises(WrongTranscript, transcript.receive, messages))

    def test_complete(self) -> None:
        transcript = Transcript()
        self.assertEqual(SERVER_MESSAGES[1:4], (b"1. Spam?", b"2. Eggs!", b"3. Python."))
        self.assertFalse(transcript.may_send)
        self.assertEqual(transcript.receive([b"Hello!"]), 0)
        for number, message in enumerate(CLIENT_MESSAGES, 1):
            self.assertTrue(transcript.may_send)
            self.assertEqual(transcript.next_message(), message)
            self.assertFalse(transcript.may_send)
            self.assertEqual(transcript.receive([b"%d. %s" % (number, message)]), 1)
        self.assertFalse(transcript.may_send)
        transcript.receive([b"Goodbye!"])
        transcript.finish(1000)

    def test_two_messages_may_arrive_in_one_chunk(self) -> None:
        transcript = Transcript()
        transcript.receive(SERVER_MESSAGES[:1])
        for number in (1, 2):
            transcript.next_message()
            transcript.receive(SERVER_MESSAGES[number : number + 1])
        transcript.next_message()
        self.assertEqual(transcript.receive(SERVER_MESSAGES[3:]), 1)
        transcript.finish(1000)

    def test_another_message_is_wrong(self) -> None:
        self.assertEqual(
            self.wrong(Transcript(), b"Hi!"), "wrong transcript: expected 'Hello!', got 'Hi!'"
        )

    def test_a_reply_that_is_too_early_is_wrong(self) -> None:
        self.assertIn(
            "expected nothing, got '1. Spam?'", self.wrong(Transcript(), *SERVER_MESSAGES[:2])
        )

    def test_a_repeated_reply_is_wrong(self) -> None:
        transcript = Transcript()
        transcript.receive(SERVER_MESSAGES[:1])
        transcript.next_message()
        self.assertIn(
            "got '1. Spam?'", self.wrong(transcript, SERVER_MESSAGES[1], SERVER_MESSAGES[1])
        )

    def test_a_message_after_the_end_is_wrong(self) -> None:
        transcript = Transcript()
        transcript.received, transcript.sent = len(SERVER_MESSAGES), len(CLIENT_MESSAGES)
        self.assertIn("expected nothing", self.wrong(transcript, b"Hello!"))

    def test_an_early_end_or_another_code_is_wrong(self) -> None:
        transcript = Transcript()
        transcript.receive(SERVER_MESSAGES[:1])
        early = self.assertRaises(WrongTranscript, transcript.finish, 1000)
        self.assertIn("closed 1000 after 1 of 5 messages", str(early))
        transcript.received = len(SERVER_MESSAGES)
        code = self.assertRaises(WrongTranscript, transcript.finish, 1001)
        self.assertIn("closed 1001 instead of 1000", str(code))
