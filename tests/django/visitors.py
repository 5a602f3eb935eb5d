"""Users with sessions in the test's database, as after a log-in in a browser."""

import itertools
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client

_numbers = itertools.count(1)


def new_user(**fields: Any) -> Any:
    """A new user, with a password that is not hashed, to save time."""
    number = next(_numbers)
    users = get_user_model().objects
    return users.create(username=f"user{number}", password=f"hash{number}", **fields)


def log_in(user: Any) -> tuple[Client, str]:
    """A browser in which the user is logged in, and the key of its session."""
    browser = Client(headers={"Host": "localhost"})
    browser.force_login(user)
    return browser, browser.cookies[settings.SESSION_COOKIE_NAME].value


def guest(**values: Any) -> tuple[Client, str]:
    """A browser with a session in which nobody is logged in, and its key."""
    browser = Client(headers={"Host": "localhost"})
    session = browser.session
    session.update(values or {"guest": True})
    session.save()
    return browser, str(session.session_key)


def cookie(key: str) -> bytes:
    """The header of a handshake with this session."""
    return b"Cookie: theme=dark; %s=%s" % (settings.SESSION_COOKIE_NAME.encode(), key.encode())
