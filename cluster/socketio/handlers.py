"""The handlers of a namespace: its methods ``on_…``, found once, when the server is made.

The names of events are those of the methods without ``on_``. An event with another name, such as
"chat message", has its handler by the decorator ``event``. ``on_any`` takes every event that has no
handler of its own.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from cluster.core.socketio.packets import RESERVED_EVENTS

F = TypeVar("F", bound=Callable[..., Any])

PREFIX = "on_"
SERVER_PREFIX = "server_side_on_"

LIFE = ("connect", "disconnect", "any")
"""Names after ``on_`` that are no events of clients."""

ANY_NUMBER = 1 << 30


class Handler(NamedTuple):
    """A handler of events.

    Attributes:
        call: The bound method.
        is_coroutine: Whether it is a coroutine function; else it runs in a database thread.
        least: How many arguments it needs.
        most: How many it takes.
        name: Its dotted name, for the log.
    """

    call: Callable[..., Any]
    is_coroutine: bool
    least: int
    most: int
    name: str


class Handlers(NamedTuple):
    """The handlers of a namespace."""

    events: dict[str, Handler]
    server_events: dict[str, Handler]
    any: Handler | None
    connect: Handler | None
    disconnect: Handler | None


def event(name: str) -> Callable[[F], F]:
    """Make a method of a namespace the handler of an event: for names that are no identifiers.

    Args:
        name: The name of the event, such as ``"chat message"``.

    Returns:
        A decorator.

    Raises:
        TypeError: The name is not text.
        ValueError: The name is reserved.
    """
    if not isinstance(name, str):
        raise TypeError(f"@event needs the name of an event, not {name!r}")
    if name in RESERVED_EVENTS:
        raise ValueError(f"the event {name!r} is reserved")

    def decorate(function: F) -> F:
        function.socketio_event = name  # type: ignore[attr-defined]
        return function

    return decorate


def handler_of(call: Callable[..., Any], given: int = 1) -> Handler:
    """The handler that a function is.

    Args:
        call: The function, or bound method.
        given: The arguments before those of the event: the socket.
    """
    function = inspect.unwrap(getattr(call, "__func__", call))
    least = most = 0
    for parameter in inspect.signature(call).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = ANY_NUMBER
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            most += 1
            least += parameter.default is parameter.empty
    name = f"{function.__module__}.{getattr(function, '__qualname__', function)}"
    is_coroutine = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
    return Handler(call, is_coroutine, max(0, least - given), max(0, most - given), name)


def handlers_of(namespace: Any) -> Handlers:
    """All handlers of an object of a class with ``on_…`` methods."""
    events: dict[str, Handler] = {}
    server_events: dict[str, Handler] = {}
    life: dict[str, Handler] = {}
    for attribute in dir(type(namespace)):
        function = getattr(type(namespace), attribute)
        if not callable(function):
            continue
        name = getattr(function, "socketio_event", None)
        if name is not None:
            events[name] = handler_of(getattr(namespace, attribute))
        elif attribute.startswith(SERVER_PREFIX):
            name = attribute.removeprefix(SERVER_PREFIX)
            server_events[name] = handler_of(getattr(namespace, attribute), given=0)
        elif attribute.startswith(PREFIX):
            name = attribute.removeprefix(PREFIX)
            if name in LIFE:
                # on_any receives the name of the event after the socket.
                handler = handler_of(getattr(namespace, attribute), 2 if name == "any" else 1)
                life[name] = handler
            elif name not in RESERVED_EVENTS:
                events.setdefault(name, handler_of(getattr(namespace, attribute)))
    return Handlers(
        events, server_events, life.get("any"), life.get("connect"), life.get("disconnect")
    )


def given(handler: Handler, *values: Any) -> tuple[Any, ...]:
    """As many of these arguments as the handler takes: ``on_connect`` need not take ``auth``."""
    return values[: handler.most]
