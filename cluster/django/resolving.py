"""The URLconf: path -> WebSocket handler.

Django's own resolver does the work, so ``path()``, ``re_path()``, ``include()``, converters and
captured arguments are the same as for any view.
"""

from typing import Any
from urllib.parse import unquote_to_bytes

from django.urls import Resolver404, resolve

from cluster.django.handlers import Handler


class NoHandler(Exception):
    """No WebSocket handler is at this path."""


def find_handler(raw_path: str) -> tuple[Handler, tuple[Any, ...], dict[str, Any], str]:
    """The handler at a path as sent by the client, its captured arguments, the decoded path.

    Raises NoHandler if the path matches nothing, is not UTF-8, or belongs to an ordinary view.
    """
    try:
        path = unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError as error:
        raise NoHandler from error
    if "\0" in path:
        raise NoHandler
    try:
        match = resolve(path)
    except Resolver404 as error:
        raise NoHandler from error
    handler = getattr(match.func, "websocket_handler", None)
    if handler is None:
        raise NoHandler
    return handler, match.args, match.kwargs, path
