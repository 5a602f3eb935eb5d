from twisted.trial.unittest import SynchronousTestCase

from workers.load.echo_transcript import HEARD, SAID, Transcript, WrongTranscript


class TranscriptTests(SynchronousTestCase):
    def wrong(self, transcript: Transcript, *messages: bytes) -> str:
        return str(self.assertRaises(WrongTranscript, transcript.receive, messages))

    def test_the_whole(self) -> None:
        transcript = Transcript()
        self.assertEqual(HEARD[1:4], (b"1. Spam?", b"2. Eggs!", b"3. Python."))
        self.assertFalse(transcript.may_speak)
        self.assertEqual(transcript.receive([b"Hello!"]), 0)
        for number, said in enumerate(SAID, 1):
            self.assertTrue(transcript.may_speak)
            self.assertEqual(transcript.say(), said)
            self.assertFalse(transcript.may_speak)
            self.assertEqual(transcript.receive([b"%d. %s" % (number, said)]), 1)
        self.assertFalse(transcript.may_speak)
        transcript.receive([b"Goodbye!"])
        transcript.finish(1000)

    def test_two_in_one_chunk(self) -> None:
        transcript = Transcript()
        transcript.receive(HEARD[:1])
        for number in (1, 2):
            transcript.say()
            transcript.receive(HEARD[number : number + 1])
        transcript.say()
        self.assertEqual(transcript.receive(HEARD[3:]), 1)
        transcript.finish(1000)

    def test_other_words(self) -> None:
        self.assertEqual(
            self.wrong(Transcript(), b"Hi!"), "wrong transcript: expected 'Hello!', got 'Hi!'"
        )

    def test_an_answer_before_the_question(self) -> None:
        self.assertIn("expected nothing, got '1. Spam?'", self.wrong(Transcript(), *HEARD[:2]))

    def test_an_answer_twice(self) -> None:
        transcript = Transcript()
        transcript.receive(HEARD[:1])
        transcript.say()
        self.assertIn("got '1. Spam?'", self.wrong(transcript, HEARD[1], HEARD[1]))

    def test_more_after_the_end(self) -> None:
        transcript = Transcript()
        transcript.heard, transcript.said = len(HEARD), len(SAID)
        self.assertIn("expected nothing", self.wrong(transcript, b"Hello!"))

    def test_the_end_too_early_or_with_another_code(self) -> None:
        transcript = Transcript()
        transcript.receive(HEARD[:1])
        early = self.assertRaises(WrongTranscript, transcript.finish, 1000)
        self.assertIn("closed 1000 after 1 of 5 messages", str(early))
        transcript.heard = len(HEARD)
        code = self.assertRaises(WrongTranscript, transcript.finish, 1001)
        self.assertIn("closed 1001 instead of 1000", str(code))
