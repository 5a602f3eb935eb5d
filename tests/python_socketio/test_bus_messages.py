"""Messages between Socket.IO servers: round trips, bounds, and what is invalid."""

import contextlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.django.api.payloads import as_message
from cluster.python_socketio.bus_messages import (
    EXTERNAL,
    MAX_SIZE,
    InvalidMessage,
    checked_limit,
    decode_message,
    encode_message,
    topic_of,
)
from tests import profiles  # noqa: F401  (loads it)

HOST = "0123456789abcdef" * 2
EMIT = {"method": "emit", "event": "news", "data": [1], "namespace": "/", "host_id": HOST}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


class MessageTests(SynchronousTestCase):
    def encode(self, message: dict[str, Any], sender: str = HOST, max_size: int = MAX_SIZE) -> Any:
        publication = encode_message(topic_of("socketio"), sender, message, json, max_size)
        self.assertEqual(publication.topic, b"c10k/socketio/socketio")
        self.assertEqual(publication.kept.depth, 0)
        return as_message(publication.frame)

    def decode(self, text: str | bytes) -> dict[str, Any]:
        return decode_message(text, json)

    @given(st.lists(VALUES))
    def test_round_trip(self, data: list[Any]) -> None:
        message = {**EMIT, "data": data, "room": "a", "skip_sid": ["x", "y"], "callback": None}
        self.assertEqual(self.decode(self.encode(message)), message)

    def test_every_method(self) -> None:
        at = {"namespace": "/", "sid": "a"}
        for message in (
            {"method": "callback", "host_id": HOST, **at, "id": 1, "args": ["x"]},
            {"method": "disconnect", **at},
            {"method": "enter_room", **at, "room": 7},
            {"method": "leave_room", **at, "room": "b"},
            {"method": "close_room", "namespace": "/", "room": ["a", "b"]},
        ):
            self.assertEqual(self.decode(self.encode(message)), {**message, "host_id": HOST})

    def test_the_sender_cannot_be_forged(self) -> None:
        message = self.decode(self.encode(EMIT, sender=EXTERNAL))
        self.assertEqual(message["host_id"], EXTERNAL)

    def test_invalid_messages(self) -> None:
        def with_object(value: Any) -> str:
            return HOST + json.dumps(value)

        for text in (
            b"binary",
            "",
            "no sender{}",
            HOST,
            HOST + "{",
            HOST + "[" * 100_000,
            with_object([]),
            with_object({}),
            with_object({"method": ["emit"]}),
            with_object({"method": "server_side"}),
            with_object({**EMIT, "event": 1}),
            with_object({**EMIT, "data": "x"}),
            with_object({**EMIT, "namespace": None}),
            with_object({**EMIT, "room": {"a": 1}}),
            with_object({**EMIT, "room": [["a"]]}),
            with_object({**EMIT, "skip_sid": {}}),
            with_object({"method": "callback", "host_id": HOST, "sid": "a", "id": True}),
        ):
            self.assertRaises(InvalidMessage, self.decode, text)

    @given(st.text() | st.text('{}[]"a:,1').map(lambda text: HOST + text))
    def test_any_text_is_read_or_invalid(self, text: str) -> None:
        with contextlib.suppress(InvalidMessage):
            self.decode(text)

    def test_a_message_that_is_too_large(self) -> None:
        error = self.assertRaises(ValueError, self.encode, EMIT, max_size=20)
        self.assertIn("max_size is 20", str(error))

    def test_data_that_is_not_json(self) -> None:
        self.assertRaises(TypeError, self.encode, {**EMIT, "data": [object()]})

    def test_arguments(self) -> None:
        for channel in ("", None, b"x"):
            self.assertRaises(ValueError, topic_of, channel)
        for size in (0, -1, True, 1.5, "1"):
            self.assertRaises(ValueError, checked_limit, "max_size", size)
