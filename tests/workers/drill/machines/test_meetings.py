"""What the parties of a meeting must have received."""

from twisted.trial.unittest import SynchronousTestCase

from workers.drill.machines.meetings import ROUNDS, Meetings, Party


class MeetingsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.meetings = Meetings(["ws://host/"], 2)
        self.all = [f"{party}.{number}" for number in range(ROUNDS) for party in (0, 1)]

    def check(self, *received: list[str], lost: bool = False) -> list[str]:
        parties = [Party(number) for number in range(len(received))]
        for party, messages in zip(parties, received, strict=True):
            party.received = messages
        if lost:
            parties[0].lost.set()
        self.meetings._check(7, parties)
        return self.meetings.violations

    def test_everything_once_and_in_order(self) -> None:
        self.assertEqual(self.check(self.all, sorted(self.all)), [])
        self.assertEqual(self.meetings.values["held"], 1)

    def test_a_message_that_is_missing(self) -> None:
        found = self.check(self.all, self.all[:-1])
        self.assertEqual(found, [f"meeting 7, party 1 missed: 1.{ROUNDS - 1}"])

    def test_a_party_that_was_lost_ends_the_meeting(self) -> None:
        self.assertEqual(self.check([], self.all[:3], lost=True), [])
        self.assertEqual(self.meetings.values["interrupted"], 1)

    def test_a_message_that_arrives_twice(self) -> None:
        found = self.check(["0.0", "0.0"], [], lost=True)
        self.assertEqual(found, ["meeting 7, party 0 received twice: 0.0"])

    def test_messages_out_of_order(self) -> None:
        found = self.check(["0.1", "1.0", "0.0"], [], lost=True)
        self.assertEqual(found, ["meeting 7, party 0 received out of order: ['0.1', '0.0']"])
