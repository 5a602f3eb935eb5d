"""The C10K setting: its defaults, and reports of all its errors."""

from typing import Any

from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import ConfigurationError
from cluster.django.conf import DEFAULTS, check, load
from tests import profiles  # noqa: F401  (loads it)
from tests.django.site import load_site


class CheckTests(SynchronousTestCase):
    def assert_refused(self, given: object, *words: str) -> None:
        problems = check(given)
        self.assertEqual(len(problems), 1, given)
        for word in words:
            self.assertIn(word, problems[0])

    def test_the_defaults_pass(self) -> None:
        self.assertEqual(check(DEFAULTS), [])
        self.assertEqual(check({}), [])

    def test_a_setting_that_is_not_a_dict(self) -> None:
        for given_ in (None, [], "HANDSHAKE_TIMEOUT"):
            self.assert_refused(given_, "must be a dict", type(given_).__name__)

    def test_unknown_keys_are_named_with_the_known_ones(self) -> None:
        self.assert_refused({"NO_SUCH_THING": 5}, "'NO_SUCH_THING'", "HANDSHAKE_TIMEOUT,")
        for typo in ("HANDSHAKE_TIMOUT", "handshake_timeout", "HANDSHAKE-TIMEOUT"):
            self.assertEqual(
                check({typo: 5}),
                [f"C10K has an unknown key {typo!r}; did you mean 'HANDSHAKE_TIMEOUT'?"],
            )
        self.assert_refused({7: 5}, "unknown key 7")

    def test_numbers(self) -> None:
        for value in (0, -1, "5", None, True, float("nan"), float("inf")):
            self.assert_refused({"HANDSHAKE_TIMEOUT": value}, "HANDSHAKE_TIMEOUT", repr(value))
        for value in (1, 0.5):
            self.assertEqual(check({"HANDSHAKE_TIMEOUT": value}), [])

    def test_whole_numbers(self) -> None:
        self.assert_refused({"WSGI_THREADS": 1.5}, "WSGI_THREADS", "1.5")
        self.assert_refused({"WSGI_THREADS": True}, "WSGI_THREADS")
        self.assertEqual(check({"WSGI_THREADS": 1}), [])

    def test_switches(self) -> None:
        for value in (1, 0, "yes", None):
            self.assert_refused({"COMPRESSION": value}, "COMPRESSION", "True or False")

    def test_none_where_it_is_allowed(self) -> None:
        self.assertEqual(check({"NODES": None, "PROXY_TIMEOUT": None}), [])
        self.assertEqual(check({"NODES": 4, "PROXY_TIMEOUT": 60}), [])
        self.assert_refused({"NODES": 0}, "NODES", "a whole number above 0, or None, not 0")
        self.assert_refused({"PROXY_TIMEOUT": "60"}, "a number above 0, or None, not '60'")
        self.assert_refused({"PING_INTERVAL": None}, "PING_INTERVAL")

    def test_zero_where_it_is_allowed(self) -> None:
        self.assertEqual(check({"DRAIN_TIMEOUT": 0}), [])
        self.assert_refused({"DRAIN_TIMEOUT": -1}, "a number, 0 or more, not -1")
        self.assert_refused({"DRAIN_TIMEOUT": False}, "a number, 0 or more, not False")

    def test_names_of_machines_and_sites(self) -> None:
        for value in ("a", "Web-1.example.com", "a_b", "a" * 63, None):
            self.assertEqual(check({"MACHINE": value, "SITE": value}), [], value)
        for value in ("", "-a", "a b", "a@b", "a{b}", "a" * 101, 5):
            if value != "-a":
                self.assert_refused({"SITE": value}, "SITE", "1 to 100 letters", repr(value))
            self.assert_refused({"MACHINE": value}, "MACHINE", "1 to 63 letters", repr(value))
        self.assert_refused({"BUS": 5}, "C10K['BUS'] must be a string")
        self.assertEqual(check({"BUS": "redis://127.0.0.1"}), [])

    def test_lists(self) -> None:
        for value in ("https://a.example", [1], None, 5):
            self.assert_refused({"ALLOWED_ORIGINS": value}, "ALLOWED_ORIGINS", repr(value))
        for value_ in (["https://a.example"], ("https://a.example",), set()):
            self.assertEqual(check({"ALLOWED_ORIGINS": value_}), [])

    def test_marks_in_the_wrong_order(self) -> None:
        given_ = {"SEND_QUEUE_HIGH_WATER": 10, "SEND_QUEUE_LOW_WATER": 11}
        self.assert_refused(given_, "SEND_QUEUE_LOW_WATER", "SEND_QUEUE_HIGH_WATER")
        self.assertEqual(check({"SEND_QUEUE_HIGH_WATER": 10, "SEND_QUEUE_LOW_WATER": 10}), [])
        self.assert_refused({"SEND_QUEUE_HIGH_WATER": 10}, "SEND_QUEUE_LOW_WATER")

    @given(
        st.dictionaries(
            st.sampled_from([*DEFAULTS, "OTHER"]) | st.integers(),
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([1]),
        )
    )
    def test_any_setting(self, given_: dict[Any, Any]) -> None:
        for problem in check(given_):
            self.assertIsInstance(problem, str)


class LoadTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()

    def test_defaults_are_filled_in(self) -> None:
        with override_settings(C10K={"WSGI_THREADS": 3}):
            self.assertEqual(load(), {**DEFAULTS, "WSGI_THREADS": 3})

    def test_a_site_without_the_setting(self) -> None:
        from django.conf import settings

        with override_settings():
            del settings.C10K
            self.assertEqual(load(), DEFAULTS)

    def test_one_error_names_all_problems(self) -> None:
        with override_settings(C10K={"WSGI_THREADS": 0, "COMPRESSION": 1}):
            error = self.assertRaises(ConfigurationError, load)
        self.assertIn("WSGI_THREADS", str(error))
        self.assertIn("COMPRESSION", str(error))
