"""The URLconf: path -> WebSocket handler.

Django's own resolver does the work, so ``path()``, ``re_path()``, ``include()``, converters and
captured arguments are the same as for any view.
"""

from urllib.parse import unquote_to_bytes

from django.urls import Resolver404, ResolverMatch, resolve

from cluster.django.websocket.decorator import Handler


class NoHandler(Exception):
    """Nothing, or nothing that is looked for, is at this path."""


def find_handler(raw_path: str) -> tuple[Handler, ResolverMatch, str]:
    """The handler at a path as sent by the client, how it was resolved, the decoded path.

    Raises NoHandler if the path matches nothing, is not UTF-8, or belongs to an ordinary view.
    """
    match, path = find_view(raw_path)
    handler = getattr(match.func, "websocket_handler", None)
    if handler is None:
        raise NoHandler
    return handler, match, path


def find_view(raw_path: str) -> tuple[ResolverMatch, str]:
    """What the URLconf has at a path as sent by the client, and the decoded path.

    Raises NoHandler if the path matches nothing or is not UTF-8.
    """
    try:
        path = unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError as error:
        raise NoHandler from error
    if "\0" in path:
        raise NoHandler
    try:
        return resolve(path), path
    except Resolver404 as error:
        raise NoHandler from error
