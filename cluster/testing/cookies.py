"""The cookies of a test's client for a user or a session, created as by Django's test client."""

from collections.abc import Mapping
from http.cookies import SimpleCookie
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import Client


def log_in(user: Any, session: Mapping[str, Any] | None) -> dict[str, str]:
    """Save a new session with this user and these values; returns its cookies."""
    visitor = Client()
    if user is not None:
        visitor.force_login(user)
    if session:
        store = visitor.session
        store.update(session)
        store.save()
        # With the signed_cookies engine the key contains the session's data, so it has changed.
        visitor.cookies[settings.SESSION_COOKIE_NAME] = str(store.session_key)
    return plain(visitor.cookies)


async def cookies_of(
    user: Any, session: Mapping[str, Any] | None, cookies: Mapping[str, Any] | None
) -> dict[str, str]:
    """Return all cookies of a client. Uses the database in the thread of the test's transaction."""
    found = plain(cookies or {})
    if (user is not None and not user.is_anonymous) or session:
        found |= await sync_to_async(log_in)(user, session)
    return found


def plain(cookies: Mapping[str, Any]) -> dict[str, str]:
    """Return the names and values of a dict, or of the ``cookies`` of Django's test client."""
    if isinstance(cookies, SimpleCookie):
        return {name: morsel.value for name, morsel in cookies.items() if morsel.value}
    return dict(cookies)


def cookie_header(cookies: Mapping[str, str]) -> str:
    """Return the value of a Cookie header."""
    return "; ".join(f"{name}={value}" for name, value in cookies.items())
