"""Fields <-> bytes."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import WireError
from cluster.core.wire import fields
from cluster.core.wire.fields import (
    FLAG,
    LIMIT,
    NAME,
    NUMBER,
    TEXT,
    TOKENS,
    decode_fields,
    encode_fields,
    is_name,
)

ITEMS = st.lists(st.binary(max_size=40), max_size=20)
NUMBERS = st.integers(0, LIMIT - 1)


class FieldsTests(SynchronousTestCase):
    """encode_fields and decode_fields."""

    def test_layout(self) -> None:
        self.assertEqual(encode_fields([]), b"\0\0\0\0")
        self.assertEqual(
            encode_fields([b"ab", b"", b"c"]),
            b"\3\0\0\0" + b"\2\0\0\0" + b"\0\0\0\0" + b"\1\0\0\0" + b"abc",
        )

    @given(ITEMS, st.binary(max_size=9))
    def test_roundtrip_behind_any_prefix(self, items: list[bytes], prefix: bytes) -> None:
        self.assertEqual(decode_fields(prefix + encode_fields(items), len(prefix)), items)

    @given(ITEMS, st.binary(min_size=1, max_size=9))
    def test_trailing_bytes_are_refused(self, items: list[bytes], rest: bytes) -> None:
        self.assertRaises(WireError, decode_fields, encode_fields(items) + rest)

    @given(ITEMS, st.integers(1, 100))
    def test_missing_bytes_are_refused(self, items: list[bytes], missing: int) -> None:
        encoded = encode_fields(items)
        self.assertRaises(WireError, decode_fields, encoded[: max(0, len(encoded) - missing)])

    def test_an_impossible_count_is_refused_before_reading_the_lengths(self) -> None:
        with self.assertRaises(WireError) as raised:
            decode_fields(b"\xff\xff\xff\xff\0\0\0\0")
        self.assertIn("4294967295 fields announced in 8 bytes", str(raised.exception))

    @given(st.binary(max_size=60))
    def test_arbitrary_bytes_are_fields_or_a_wire_error(self, encoded: bytes) -> None:
        try:
            items = decode_fields(encoded)
        except WireError:
            return
        self.assertEqual(encode_fields(items), encoded)

    def test_big_endian_machines_swap_the_lengths(self) -> None:
        """Swapped on this machine, the lengths are in the other order; the count is an int."""
        self.patch(fields, "_BIG_ENDIAN", not fields._BIG_ENDIAN)
        self.assertEqual(encode_fields([b"ab"]), b"\0\0\0\1" + b"\0\0\0\2" + b"ab")
        self.assertEqual(decode_fields(b"\1\0\0\0" + b"\0\0\0\2" + b"ab"), [b"ab"])


class CodecTests(SynchronousTestCase):
    """TEXT, NUMBER, FLAG and TOKENS."""

    def test_layout(self) -> None:
        self.assertEqual(TEXT.encode("é"), b"\xc3\xa9")
        self.assertEqual(NUMBER.encode(258), b"\2\1" + bytes(6))
        self.assertEqual((FLAG.encode(False), FLAG.encode(True)), (bytes(8), b"\1" + bytes(7)))
        self.assertEqual(TOKENS.encode((1, 256)), b"\1" + bytes(7) + b"\0\1" + bytes(6))

    @given(st.text(), NUMBERS, st.booleans(), st.lists(NUMBERS).map(tuple))
    def test_roundtrip(self, text: str, n: int, flag: bool, tokens: tuple[int, ...]) -> None:
        self.assertEqual(TEXT.decode(TEXT.encode(text)), text)
        self.assertEqual(NUMBER.decode(NUMBER.encode(n)), n)
        self.assertIs(FLAG.decode(FLAG.encode(flag)), flag)
        self.assertEqual(TOKENS.decode(TOKENS.encode(tokens)), tokens)

    def test_bytes_of_the_wrong_size_or_encoding_are_refused(self) -> None:
        self.assertRaises(WireError, TEXT.decode, b"\xff")
        self.assertRaises(WireError, NUMBER.decode, bytes(7))
        self.assertRaises(WireError, FLAG.decode, b"")
        self.assertRaises(WireError, TOKENS.decode, bytes(9))

    def test_numbers_that_are_too_large_are_refused(self) -> None:
        largest, beyond = ((LIMIT - less).to_bytes(8, "little") for less in (1, 0))
        self.assertEqual(NUMBER.decode(largest), LIMIT - 1)
        self.assertEqual(TOKENS.decode(bytes(8) + largest), (0, LIMIT - 1))
        for codec in (NUMBER, FLAG, TOKENS):
            self.assertRaises(WireError, codec.decode, beyond)
        self.assertRaises(WireError, TOKENS.decode, beyond + bytes(8))

    def test_names(self) -> None:
        for name in (b"a", b"node0.1f", b"x" * 255):
            self.assertTrue(is_name(name))
            self.assertEqual(NAME.encode(NAME.decode(name)), name)
        for name in (b"", b"a b", b"x" * 256, b"\0abcd", "ä".encode(), b"a\n"):
            self.assertRaises(WireError, NAME.decode, name)
