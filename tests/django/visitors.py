"""People with sessions in the test's database, as a browser that logged in has them."""

import itertools
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client

_numbers = itertools.count(1)


def new_user(**fields: Any) -> Any:
    """Somebody nobody else is, with a password that is not worth the time of hashing one."""
    number = next(_numbers)
    users = get_user_model().objects
    return users.create(username=f"user{number}", password=f"hash{number}", **fields)


def log_in(user: Any) -> tuple[Client, str]:
    """A browser of this user, and its session's key."""
    browser = Client(headers={"Host": "localhost"})
    browser.force_login(user)
    return browser, browser.cookies[settings.SESSION_COOKIE_NAME].value


def guest(**values: Any) -> tuple[Client, str]:
    """A browser that has a session and nobody logged in."""
    browser = Client(headers={"Host": "localhost"})
    session = browser.session
    session.update(values or {"guest": True})
    session.save()
    return browser, str(session.session_key)


def cookie(key: str) -> bytes:
    """The header of a handshake with this session."""
    return b"Cookie: theme=dark; %s=%s" % (settings.SESSION_COOKIE_NAME.encode(), key.encode())
