"""Who somebody is in the chat."""

import secrets
from typing import Any

SESSION_KEY = "chat_name"


def new_guest() -> str:
    """A name that is most likely nobody else's."""
    return f"guest-{secrets.token_hex(2)}"


def name_of(user: Any, session: Any) -> str:
    """The user's name, else the guest's name in the session, else a new one, which is not kept."""
    if user.is_authenticated:
        return str(user.get_username())
    return str(session.get(SESSION_KEY) or new_guest())


def keep_name(user: Any, session: Any) -> str:
    """The same, but a new guest's name is kept in the session, for the next page and the socket."""
    name = name_of(user, session)
    if not user.is_authenticated and session.get(SESSION_KEY) != name:
        session[SESSION_KEY] = name
    return name
