"""Tests of cluster.core.json_text: the same results as of the json module, and strict."""

import json
from typing import Any
from unittest import TestCase, mock

from hypothesis import given
from hypothesis import strategies as st

from cluster.core.json_text import decode_json, text_encoder
from tests import profiles

assert profiles

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)  # fmt: skip


class Encoder(json.JSONEncoder):
    """Encodes sets, too."""

    def default(self, value: Any) -> Any:
        return sorted(value) if isinstance(value, set) else super().default(value)


class DecodeTests(TestCase):
    @given(VALUES, st.sampled_from(["", "2", "451-/a,7"]))
    def test_what_was_encoded(self, value: Any, before: str) -> None:
        self.assertEqual(decode_json(before + json.dumps(value), len(before)), value)

    @given(st.text('[]{}",:0123456789.eE+-truefalsn \\\n'))
    def test_the_same_as_of_the_module(self, text: str) -> None:
        try:
            expected = json.loads(text)
        except ValueError:
            with self.assertRaises(ValueError):
                decode_json(text)
        else:
            if "inf" not in str(expected):
                self.assertEqual(decode_json(text), expected)

    def test_white_space(self) -> None:
        self.assertEqual(decode_json("x \t[1, 2]\r\n", 1), [1, 2])

    def test_what_is_not_json(self) -> None:
        for text in (
            "",
            " ",
            "[",
            "1 2",
            "[1]x",
            "NaN",
            "[Infinity]",
            "-Infinity",
            "1e999",
            "\ufeff1",
        ):
            with self.subTest(text=text), self.assertRaises(ValueError):
                decode_json(text)
        with self.assertRaises(RecursionError):
            decode_json("[" * 100_000)


class EncodeTests(TestCase):
    @given(VALUES)
    def test_the_same_as_of_the_encoder(self, value: Any) -> None:
        for options in ({}, {"separators": (",", ":"), "ensure_ascii": False}, {"sort_keys": True}):
            encoder = json.JSONEncoder(**options)
            self.assertEqual(text_encoder(encoder)(value), encoder.encode(value))

    def test_its_own_values(self) -> None:
        encode = text_encoder(Encoder(separators=(",", ":")))
        self.assertEqual(encode({"a": {2, 1}}), '{"a":[1,2]}')
        with self.assertRaises(TypeError):
            encode([b""])
        self.assertEqual(encode(("after", "an error")), '["after","an error"]')

    def test_what_has_no_text(self) -> None:
        encode = text_encoder(json.JSONEncoder(allow_nan=False))
        circular: list[Any] = []
        circular.append(circular)
        for value in (float("nan"), float("inf"), circular):
            with self.assertRaises(ValueError):
                encode(value)

    def test_a_python_without_the_function(self) -> None:
        with mock.patch("json.encoder.c_make_encoder", None):
            encode = text_encoder(Encoder())
            self.assertEqual(encode({1}), "[1]")
            deep: list[Any] = []
            for _ in range(100_000):
                deep = [deep]
            with self.assertRaises(ValueError):
                encode(deep)
