"""Messages and envelopes: what goes in comes out, and anything else is an error."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.channels.messages import (
    Envelope,
    Kind,
    decode_envelope,
    decode_message,
    encode_envelope,
    encode_message,
)
from cluster.core.exceptions import WireError
from tests import profiles  # noqa: F401  # loads the Hypothesis profile

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


class MessagesTests(SynchronousTestCase):
    @given(st.dictionaries(st.text(), values))
    def test_a_message_is_decoded_as_it_was(self, message: dict[str, Any]) -> None:
        body = encode_message(message)
        self.assertEqual(message, decode_message(body))
        self.assertIsNot(decode_message(body), decode_message(body))

    @given(st.text(), st.sampled_from(Kind), st.text(), st.binary())
    def test_an_envelope(self, sender: str, kind: Kind, name: str, body: bytes) -> None:
        data = encode_envelope(sender, kind, name, body)
        self.assertEqual(Envelope(sender, kind, name, body), decode_envelope(data))

    @given(st.binary() | st.text())
    def test_anything_else_is_no_envelope(self, data: bytes | str) -> None:
        try:
            decode_envelope(data)
        except WireError:
            return
        raise AssertionError("it is an envelope")
