"""Who is let in: the client's session and user, then what the application's functions say.

The steps for a handshake and for a request of a feed alike::

    request = await load_request(request)
    check_login(request)
    result = await run_permission(function, request, kwargs)

Errors on the way become an answer by ``refusal``.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpResponseBase, StreamingHttpResponse
from django.utils.module_loading import import_string
from twisted.logger import Logger

from cluster.core.exceptions import DatabaseQueueFull
from cluster.django.api.database import in_database
from cluster.django.handshake import sessions
from cluster.django.handshake.requests import ReactorRequest
from cluster.django.websocket.decorator import Accept, Handler, UpgradeRequired
from cluster.net.websocket.refusal import Refusal

TRY_AGAIN = (("Retry-After", "1"),)

_LOGIN_MIDDLEWARE = "django.contrib.auth.middleware.LoginRequiredMiddleware"

_log = Logger()


async def load_request(request: ReactorRequest) -> ReactorRequest:
    """The request with the session and user of its cookie; without such a cookie, at once."""
    if sessions.may_have_one(request.META.get("HTTP_COOKIE")):
        await in_database(sessions.load, request)
    return request


def is_for_users(view: Callable[..., Any]) -> bool:
    """Whether the site has LoginRequiredMiddleware, and the view is not exempt from it.

    Middleware does not run for handshakes and feeds. But a site that closes all views to guests
    must not find these open.
    """
    return getattr(view, "login_required", True) and _requires_login(tuple(settings.MIDDLEWARE))


@cache
def _requires_login(middleware: tuple[str, ...]) -> bool:
    # By name, for sites with a subclass, and for those without django.contrib.auth.
    return any(
        f"{kind.__module__}.{kind.__qualname__}" == _LOGIN_MIDDLEWARE
        for path in middleware
        for kind in getattr(import_string(path), "__mro__", ())
    )


def check_login(request: ReactorRequest) -> None:
    """Raise a Refusal if the view that the request has been resolved to is not for guests."""
    match = request.resolver_match
    assert match is not None
    if is_for_users(match.func) and not request.user.is_authenticated:
        raise not_permitted()


async def run_permission(
    function: Callable[..., Any],
    request: ReactorRequest,
    kwargs: Mapping[str, Any],
    args: Sequence[Any] = (),
) -> Any:
    """What the function returns; it raises what the function raises.

    A coroutine function runs on the reactor, any other in a database thread. A response that is
    returned is complete: templates are rendered, streams are read.
    """
    if not iscoroutinefunction(function):
        result = await in_database(_call, function, request, args, kwargs)
    else:
        result = await function(request, *args, **kwargs)
        if _is_incomplete(result):
            result = await in_database(_complete, result)
    if isinstance(result, StreamingHttpResponse) and result.is_async:
        result.streaming_content = [b"".join([part async for part in result])]
    return result


async def admit(
    request: ReactorRequest, handler: Handler, offered: Sequence[str]
) -> tuple[str | None, Mapping[str, Any]]:
    """Subprotocol and headers for a handshake that is let in; raises a Refusal for another.

    Needs ``request.resolver_match``; ``offered`` are the client's subprotocols.
    """
    match = request.resolver_match
    assert match is not None
    try:
        await load_request(request)
        check_login(request)
        if match.func is not handler.view:
            through = await run_permission(match.func, request, match.kwargs, match.args)
            if not isinstance(through, UpgradeRequired):
                raise _not_through(through)
        answer = None
        if handler.accept is not None:
            answer = await run_permission(handler.accept, request, match.kwargs, match.args)
    except Exception as error:
        raise refusal(error) from error
    match answer:
        case None:
            return handler.choose(offered), {}
        case Accept(None, headers):
            return handler.choose(offered), headers
        case Accept(subprotocol, headers):
            if subprotocol not in offered:
                raise ValueError(
                    f"accept chose the subprotocol {subprotocol!r}; the client offers {[*offered]}"
                )
            return subprotocol, headers
        case HttpResponseBase():
            raise refused_with(answer)
    raise TypeError(f"accept must return None, Accept or a response, not {answer!r}")


def refusal(error: Exception) -> Refusal:
    """The answer to a client for an error on the way; raises the error if it is a bug of ours."""
    match error:
        case Refusal():
            return error
        case PermissionDenied():
            return Refusal(403, str(error) or "permission denied")
        case Http404():
            return Refusal(404, "not found")
        case SuspiciousOperation():
            return Refusal(400, "bad request")
        case DatabaseQueueFull():
            return Refusal(503, "too many are waiting for the database", TRY_AGAIN)
        case OperationalError() | InterfaceError():
            # One line: a thousand clients may come while the database is away.
            _log.error("the database failed: {error}", error=error)
            return Refusal(503, "the database is not available", TRY_AGAIN)
    raise error


def not_permitted() -> Refusal:
    """What to answer in place of a page to log in at, which is of no use to a WebSocket or feed."""
    return Refusal(403, "not permitted")


def refused_with(response: HttpResponseBase) -> Refusal:
    """A response as the answer to a handshake; its cookies go with it."""
    headers = [(name, value) for name, value in response.items() if name != "Content-Length"]
    headers += [("Set-Cookie", morsel.OutputString()) for morsel in response.cookies.values()]
    body = b"".join(response) if response.streaming else response.content  # type: ignore[attr-defined]
    return Refusal(response.status_code, response.reason_phrase, headers, body)


def _not_through(response: Any) -> Refusal:
    """A decorator's answer."""
    if isinstance(response, HttpResponseBase) and response.status_code >= 400:
        return refused_with(response)
    return not_permitted()


def _call(
    function: Callable[..., Any], request: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    result = function(request, *args, **kwargs)
    return _complete(result) if _is_incomplete(result) else result


def _is_incomplete(result: Any) -> bool:
    """Whether what is left to do may block."""
    if isinstance(result, StreamingHttpResponse):
        return not result.is_async
    return isinstance(result, HttpResponseBase) and not getattr(result, "is_rendered", True)


def _complete(result: Any) -> Any:
    if isinstance(result, StreamingHttpResponse):
        result.streaming_content = [b"".join(result)]
        return result
    return result.render()
