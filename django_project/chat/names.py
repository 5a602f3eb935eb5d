"""The names of people in the chat."""

import secrets
from typing import Any

SESSION_KEY = "chat_name"


def new_guest() -> str:
    """Return a random name, which is rarely the same for two guests."""
    return f"guest-{secrets.token_hex(2)}"


def name_of(user: Any, session: Any) -> str:
    """Return the user's name, the guest's name in the session, or a new name, which is not
    saved."""
    if user.is_authenticated:
        return str(user.get_username())
    return str(session.get(SESSION_KEY) or new_guest())


def keep_name(user: Any, session: Any) -> str:
    """Return the same as name_of, and save a new guest's name in the session."""
    name = name_of(user, session)
    if not user.is_authenticated and session.get(SESSION_KEY) != name:
        session[SESSION_KEY] = name
    return name
