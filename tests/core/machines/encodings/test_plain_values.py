"""Plain values <-> bytes."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import WireError
from cluster.core.machines.encodings.plain_values import MAX_DEPTH, decode_value, encode_value

LEAVES = st.binary() | st.text() | st.booleans() | st.integers(-(1 << 63), 1 << 63)
VALUES = st.recursive(LEAVES, lambda each: st.lists(each, max_size=5).map(tuple), max_leaves=20)


def depth(value: Any) -> int:
    return 1 + max(map(depth, value), default=0) if isinstance(value, tuple) else 0


class PlainValuesTests(SynchronousTestCase):
    """encode_value and decode_value."""

    @given(VALUES.filter(lambda value: depth(value) <= MAX_DEPTH))
    def test_each_value_survives(self, value: Any) -> None:
        decoded = decode_value(encode_value(value))
        self.assertEqual(decoded, value)
        self.assertIs(type(decoded), type(value))

    def test_lists_become_tuples(self) -> None:
        self.assertEqual(decode_value(encode_value([1, ["a"]])), (1, ("a",)))

    @given(st.binary(max_size=60) | st.builds(bytes.__add__, st.just(b"t"), st.binary()))
    def test_other_bytes_are_refused(self, data: bytes) -> None:
        try:
            value = decode_value(data)
        except WireError:
            return
        self.assertEqual(decode_value(encode_value(value)), value)

    def test_wrong_values_are_refused(self) -> None:
        deep: Any = ()
        for _ in range(MAX_DEPTH):
            deep = (deep,)
        for data in (b"", b"x", b"i", b"i-", b"i1.0", b"i" + b"1" * 21, b"0x", b"s\xff", b"t"):
            self.assertRaises(WireError, decode_value, data)
        self.assertRaises(WireError, decode_value, encode_value(deep))
