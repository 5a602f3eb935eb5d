"""The session and the user of a cookie."""

from typing import Any

from django import conf
from django.contrib.auth import SESSION_KEY
from django.test import override_settings
from twisted.trial.unittest import SynchronousTestCase

from cluster.django.handshake import sessions
from cluster.django.handshake.requests import ReactorRequest
from tests.django.site import load_database
from tests.django.visitors import cookie, guest, log_in, new_user

COOKIES = "django.contrib.sessions.backends.signed_cookies"


def ain_database(key: str) -> bool:
    from django.contrib.sessions.models import Session

    return Session.objects.filter(session_key=key).exists()


def request_of(key: str) -> ReactorRequest:
    """A request whose session has been loaded."""
    header = cookie(key).decode().partition(": ")[2]
    request = ReactorRequest("/", "", [("cookie", header)], secure=False, client="")
    sessions.load(request)
    return request


class LoadTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()

    def assert_nobody(self, request: Any) -> None:
        self.assertTrue(request.user.is_anonymous)
        self.assertIsNone(request.user_key)

    def test_a_user(self) -> None:
        user = new_user()
        _, key = log_in(user)
        request = request_of(key)
        self.assertEqual(request.user, user)
        self.assertEqual(request.user_key, str(user.pk))
        self.assertEqual(request.session_cookie, key)
        self.assertEqual(request.auth_hash, user.get_session_auth_hash())

    def test_a_guest(self) -> None:
        _, key = guest(name="guest-1")
        request = request_of(key)
        self.assertEqual(request.session["name"], "guest-1")
        self.assertEqual(request.session_cookie, key)
        self.assert_nobody(request)

    def test_no_such_session(self) -> None:
        for key in ("", "x" * 32, "x" * 5000, "\x00", "é"):
            request = request_of(key.encode().decode("latin-1"))
            self.assert_nobody(request)
            self.assertIsNone(request.session_cookie, key)
            self.assertTrue(request.session.is_empty())

    def test_an_inactive_and_a_deleted_user(self) -> None:
        user = new_user()
        _, key = log_in(user)
        type(user).objects.filter(pk=user.pk).update(is_active=False)
        self.assert_nobody(request_of(key))
        type(user).objects.filter(pk=user.pk).delete()
        self.assert_nobody(request_of(key))

    def test_a_session_of_another_password_is_not_flushed(self) -> None:
        """Django's own middleware would flush it; a handshake must not write."""
        user = new_user()
        _, key = log_in(user)
        type(user).objects.filter(pk=user.pk).update(password="other")
        self.assert_nobody(request_of(key))
        self.assertTrue(ain_database(key))

    def test_a_session_of_an_older_secret_key_is_not_renewed(self) -> None:
        user = new_user()
        old = conf.settings.SECRET_KEY
        _, key = log_in(user)
        with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=[old]):
            request = request_of(key)
            self.assertEqual(request.user, user)
            self.assertEqual(request.auth_hash, user.get_session_auth_hash())
        self.assertTrue(ain_database(key))

    def test_a_backend_that_is_not_configured_any_more(self) -> None:
        _, key = log_in(new_user())
        with override_settings(AUTHENTICATION_BACKENDS=["other.Backend"]):
            self.assert_nobody(request_of(key))

    def test_a_session_without_a_backend(self) -> None:
        _, key = guest(**{SESSION_KEY: "7"})
        self.assert_nobody(request_of(key))

    def test_sessions_in_cookies(self) -> None:
        with override_settings(SESSION_ENGINE=COOKIES):
            user = new_user()
            _, key = log_in(user)
            self.assertEqual(request_of(key).user, user)
            forged = key[:-1] + ("A" if key[-1] != "A" else "B")
            self.assert_nobody(request_of(forged))
            self.assertIsNone(request_of(forged).session_cookie)


class UsedTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()

    def test_whether_a_site_has_sessions(self) -> None:
        self.assertTrue(sessions.are_used())
        without = {"INSTALLED_APPS": ["django.contrib.contenttypes"], "MIDDLEWARE": []}
        with override_settings(**without):
            self.assertFalse(sessions.are_used())
        without["MIDDLEWARE"] = ["django.contrib.sessions.middleware.SessionMiddleware"]
        with override_settings(**without):
            self.assertTrue(sessions.are_used())

    def test_a_cookie_on_a_site_without_sessions(self) -> None:
        """Its key must not be looked up, because there may be no table of sessions."""
        _, key = guest()
        with override_settings(INSTALLED_APPS=["django.contrib.contenttypes"], MIDDLEWARE=[]):
            self.assertIsNone(request_of(key).session_cookie)

    def test_which_cookies_may_have_a_session(self) -> None:
        self.assertFalse(sessions.may_have_one(None))
        self.assertFalse(sessions.may_have_one("csrftoken=1; theme=dark"))
        self.assertTrue(sessions.may_have_one("theme=dark; sessionid=1"))
