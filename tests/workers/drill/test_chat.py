"""Members of the chat room of a drill."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from workers.drill.chat import Room


class Recording:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, text: str) -> None:
        self.sent.append(json.loads(text))


class MemberTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.room = Room(["ws://host/"], 3, 1.0, lambda: [])
        self.member = self.room.members[0]
        self.socket: Any = Recording()

    def says(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            self.member._received(message, self.socket)

    def message(self, author: int, number: int) -> dict[str, Any]:
        return {"message": ["guest", "text"], "id": f"{author}-{number}"}

    def violations(self) -> list[str]:
        return self.member.ledger(1).violations({1, 2, 3})

    def test_messages_of_others_and_the_room_s_newest_ones(self) -> None:
        self.says({"buffer": []}, self.message(1, 1))
        self.member.connections = 2
        self.says({"buffer": [self.message(1, 1), self.message(1, 2)]}, self.message(1, 3))
        self.assertEqual(self.violations(), [])

    def test_a_message_twice_is_found_unless_its_author_sent_it_again(self) -> None:
        self.says(*(self.message(1, number) for number in (1, 2, 3, 2)))
        self.assertEqual(len(self.violations()), 1)
        self.setUp()
        self.room.members[1]._resent.add(2)
        self.says(*(self.message(1, number) for number in (1, 2, 3, 2)))
        self.assertEqual(self.violations(), [])

    def test_what_was_written_without_a_connection_is_sent_later(self) -> None:
        self.member.write()
        self.member.write()
        self.says({"buffer": [self.message(0, 1)]})
        self.assertEqual([sent["id"] for sent in self.socket.sent if "id" in sent], ["0-2"])
        self.assertEqual((self.member.pending, set(self.member.confirmed)), (1, {1}))
        self.says({"pong": 2})
        self.assertEqual((self.member.pending, set(self.member.confirmed)), (0, {1, 2}))

    def test_a_buffer_that_begins_too_late_is_a_visible_gap(self) -> None:
        self.says({"buffer": []}, self.message(1, 1))
        self.member.connections = 2
        self.says({"buffer": [self.message(1, number) for number in range(3, 18)]})
        self.assertEqual(self.violations(), [])
        self.assertEqual(self.member.ledger(1).gaps, 1)
