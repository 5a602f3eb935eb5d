"""The transcript of a client of `swarm socketio`."""

from twisted.trial.unittest import SynchronousTestCase

from workers.socketio.transcript import (
    Transcript,
    WrongTranscript,
    message_of,
    publication,
    published,
)


class TranscriptTests(SynchronousTestCase):
    def joined(self) -> Transcript:
        transcript = Transcript()
        transcript.receive(b'40{"sid":"abc"}')
        self.assertTrue(transcript.is_connected)
        self.assertEqual(transcript.join("room-1"), b'420["join","room-1"]')
        transcript.receive(b"430[]")
        self.assertTrue(transcript.is_joined)
        return transcript

    def test_echoes(self) -> None:
        transcript = self.joined()
        for number in (1, 2):
            self.assertEqual(transcript.echo(), b'42%d["echo","%d"]' % (number, number))
            transcript.receive(b'43%d["%d"]' % (number, number))
            self.assertEqual(transcript.echoed, number)

    def test_deviations(self) -> None:
        for packet, expected in (
            (b'431["2"]', "expected '431"),
            (b'432["1"]', "expected '431"),
            (b'42["message"]', "expected '431"),
        ):
            transcript = self.joined()
            transcript.echo()
            with self.assertRaisesRegex(WrongTranscript, expected):
                transcript.receive(packet)
        with self.assertRaisesRegex(WrongTranscript, "expected 'nothing'"):
            self.joined().receive(b'431["1"]')
        with self.assertRaisesRegex(WrongTranscript, "expected '40'"):
            Transcript().receive(b'44{"message":"no"}')

    def test_messages(self) -> None:
        self.assertEqual(publication(b"0 1 2", "room"), b'42["publish","0 1 2","room"]')
        self.assertEqual(message_of(b'42["message","0 1 2"]'), (b"0 1 2", b""))
        self.assertEqual(message_of(b'42["message","0 1 2","off"]'), (b"0 1 2", b"off"))
        numbered = publication(b"0 1 2", "room", 7)
        self.assertEqual(numbered, b'421000000007["publish","0 1 2","room"]')
        self.assertEqual(published(b"431000000007[]"), 7)
        self.assertIsNone(published(b'431["1"]'))

    def test_recovery(self) -> None:
        transcript = Transcript()
        self.assertEqual(transcript.connect(), b"40")
        transcript.receive(b'40{"sid":"abc","pid":"secret"}')
        transcript.receive(b"430[]")
        transcript.offset = b"17"
        transcript.echo()
        transcript.lost()
        self.assertEqual(transcript.connect(), b'40{"pid":"secret","offset":"17"}')
        transcript.receive(b'40{"sid":"abc","pid":"secret"}')
        self.assertTrue(transcript.is_joined)
        self.assertEqual(transcript.echo(), b'421["echo","1"]')
        transcript.lost()
        transcript.receive(b'40{"sid":"def","pid":"other"}')
        self.assertFalse(transcript.is_joined)
