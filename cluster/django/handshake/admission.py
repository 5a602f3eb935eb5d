"""The application's decision on a client: for a handshake and for a request of a feed alike.

In this order:

1. the session and the user of its cookie (sessions.py)
2. the site's middleware (middleware.py), around all that follows
3. the view at the URL, which may be decorated; it must be that of a handler or a feed
4. LoginRequiredMiddleware's rule
5. the decorators around the view
6. the permission function: the accept function of a handler, the function of a feed

Each step may refuse, by an exception or a response. What blocks runs in a database thread; with
middleware that is one call for all steps, up to the first coroutine function.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from asgiref.sync import iscoroutinefunction
from django.http import HttpResponse, HttpResponseBase
from django.urls import Resolver404, ResolverMatch

from cluster.django.api.database_threads import ain_database
from cluster.django.handlers.handler_decorator import Accept, Handler, UpgradeRequired
from cluster.django.handshake import sessions
from cluster.django.handshake.middleware import Failed, MiddlewareChain, of_site
from cluster.django.handshake.permissions import Function, call_blocking, call_permission
from cluster.django.handshake.refusals import (
    not_found,
    not_permitted,
    refusal_for,
    refused_by_decorator,
    refused_by_middleware,
    refused_with,
)
from cluster.django.handshake.requests import ReactorRequest
from cluster.django.handshake.url_resolver import resolve_again
from cluster.django.request_context import RequestContext

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target(Generic[T]):
    """What a URL leads to: a handler or a feed.

    Attributes:
        found: The handler or the feed.
        view: The view that carries it. At the URL may be another one, which decorates this one.
        permission: The application's function that decides; None accepts every client.
    """

    found: T
    view: Callable[..., Any] | None
    permission: Function | None


class Accepted(HttpResponse):
    """The response that middleware sees of a client that is accepted."""

    def __init__(self, request: ReactorRequest) -> None:
        super().__init__(status=101 if request.is_handshake else 200)


class Admission(Generic[T]):
    """The decision on one client.

    Args:
        request: The client's. If its ``resolver_match`` is None, the URL is resolved in a database
            thread; so it always is within middleware, which may choose the language and the
            URLconf.
        find: Returns what a URL leads to, or None: then the client gets 404.
        otherwise: The match of a URL that leads to nothing, in place of 404.
    """

    def __init__(
        self,
        request: ReactorRequest,
        find: Callable[[ResolverMatch], Target[T] | None],
        otherwise: ResolverMatch | None = None,
    ) -> None:
        self.request = request
        self.found: T
        self.result: Any = None  # what the permission function returned
        self._find = find
        self._otherwise = otherwise
        self._match: ResolverMatch
        # Functions that have not been called yet, and what takes their results.
        self._waiting: deque[tuple[Function, Callable[[Any], None]]] = deque()
        self._refused_with: HttpResponseBase | None = None

    async def decide(self) -> None:
        """Set ``found`` and ``result`` if the client is accepted; raise a Refusal if it is not.

        An exception that is no Refusal is a bug of the application.
        """
        chain = of_site().chain
        sessions.begin(self.request)
        try:
            if chain is not None:
                await ain_database(self._run_middleware, chain)
            else:
                await self._run_without_middleware()
            while self._waiting:
                function, take = self._waiting.popleft()
                match = self._match
                take(await call_permission(function, self.request, match.args, match.kwargs))
            if self._refused_with is not None:
                raise refused_with(self._refused_with)
            if not sessions.is_noted(self.request):  # a function of the application set the user
                await ain_database(sessions.note_user, self.request)
        except Exception as error:
            raise refusal_for(error) from error

    async def _run_without_middleware(self) -> None:
        request = self.request
        if request.resolver_match is None:
            request.resolver_match = await ain_database(self._resolve)
        if sessions.may_have_one(request.META.get("HTTP_COOKIE")):
            await ain_database(sessions.load, request)
        self._begin(request.resolver_match)
        self._check_login()

    def _run_middleware(self, chain: MiddlewareChain) -> None:
        """Take all steps up to the first coroutine function. Blocks."""
        before = copy_context()

        def decide(request: ReactorRequest) -> HttpResponseBase:
            self._begin(self._resolve())
            match = self._match
            response = chain.process_view(request, match)
            if response is not None:
                return response
            sessions.note_user(request)
            self._check_login()
            # Here and not at the end: middleware may undo it after get_response.
            request.context = RequestContext.capture(before)
            try:
                self._call_blocking_functions()
            except Exception as error:
                response = chain.process_exception(request, error)
                if response is None:
                    raise
                return response
            return self._refused_with or Accepted(request)

        sessions.load(self.request)
        response = chain.run(self.request, decide)
        if isinstance(response, Failed):
            raise response.error
        if not isinstance(response, Accepted) and response is not self._refused_with:
            raise refused_by_middleware(response)

    def _resolve(self) -> ResolverMatch:
        try:
            return resolve_again(self.request)
        except Resolver404:
            if self._otherwise is None:
                raise
            return self._otherwise

    def _begin(self, match: ResolverMatch) -> None:
        """Note which functions must be called. Middleware may have it done more than once."""
        self._waiting.clear()
        self.result = self._refused_with = None
        target = self._find(match)
        if target is None and self._otherwise is not None:
            match = self._otherwise
            target = self._find(match)
        if target is None:
            raise not_found()
        self.found, self._match = target.found, match
        self.request.resolver_match = match
        if match.func is not target.view:
            self._waiting.append((match.func, self._take_decorated))
        if target.permission is not None:
            self._waiting.append((target.permission, self._take_permission))

    def _check_login(self) -> None:
        if is_for_users(self._match.func) and not self.request.user.is_authenticated:
            raise not_permitted()

    def _call_blocking_functions(self) -> None:
        """Call functions until the first coroutine function, which belongs on the reactor."""
        match = self._match
        while self._waiting and not iscoroutinefunction(self._waiting[0][0]):
            function, take = self._waiting.popleft()
            take(call_blocking(function, self.request, match.args, match.kwargs))

    def _take_decorated(self, response: Any) -> None:
        """Our view at the bottom returns UpgradeRequired; all else comes from a decorator."""
        if not isinstance(response, UpgradeRequired):
            raise refused_by_decorator(response)

    def _take_permission(self, result: Any) -> None:
        self.result = result
        if isinstance(result, HttpResponseBase):
            self._refused_with = result


def is_for_users(view: Callable[..., Any]) -> bool:
    """Whether the site has LoginRequiredMiddleware, and the view is not exempt from it."""
    return getattr(view, "login_required", True) and of_site().requires_login


def handshake_answer(
    handler: Handler, result: Any, offered: Sequence[str]
) -> tuple[str | None, Mapping[str, Any]]:
    """The subprotocol and headers for a handshake, by what the accept function returned.

    Args:
        handler: The handler of the URL.
        result: What its accept function returned; None if it has none.
        offered: The subprotocols that the client offers.

    Raises:
        ValueError: The accept function chose a subprotocol that the client does not offer.
        TypeError: It returned neither None nor an Accept.
    """
    match result:
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
    raise TypeError(f"accept must return None, Accept or a response, not {result!r}")
