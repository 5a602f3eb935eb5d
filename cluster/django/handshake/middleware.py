"""The project's middleware, around the decision on a client.

Django runs middleware around a view. Here it runs around what decides on a handshake or on a
request of a feed, before the answer, by the rules of Django's own handler for WSGI:

* It runs in a database thread, synchronously; asynchronous middleware is adapted.
* ``get_response`` never raises: exceptions become responses, so that middleware which undoes
  something after it can rely on that.
* ``process_view`` and ``process_exception`` are called; ``process_template_response`` is not.
* A response in place of that of ``get_response`` refuses the client. What middleware adds to the
  response of a client that is accepted is dropped.

A site that has only middleware without an effect on the decision pays nothing: most of Django's own
only changes responses or concerns forms, and is left out. Sessions, users and
LoginRequiredMiddleware are left out because the handshake does the same without writing to the
session (sessions.py, admission.py).
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, MiddlewareNotUsed
from django.core.signals import setting_changed
from django.http import HttpResponse, HttpResponseBase
from django.urls import ResolverMatch
from django.utils.deprecation import MiddlewareMixin
from django.utils.module_loading import import_string
from twisted.logger import Logger

from cluster.django.handshake.refusals import refusal_for
from cluster.django.handshake.requests import ReactorRequest

GetResponse = Callable[[ReactorRequest], HttpResponseBase]

LOGIN_REQUIRED = "django.contrib.auth.middleware.LoginRequiredMiddleware"

LEFT_OUT_WITH_SUBCLASSES = frozenset(
    {
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        LOGIN_REQUIRED,
        # A handshake is a GET, which needs no token.
        "django.middleware.csrf.CsrfViewMiddleware",
        # A page that is cached for the same URL would be the answer to a handshake.
        "django.middleware.cache.UpdateCacheMiddleware",
        "django.middleware.cache.FetchFromCacheMiddleware",
    }
)

LEFT_OUT = frozenset(
    {
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.common.BrokenLinkEmailsMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
        "django.middleware.csp.ContentSecurityPolicyMiddleware",
        "django.middleware.gzip.GZipMiddleware",
        "django.middleware.http.ConditionalGetMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.contrib.flatpages.middleware.FlatpageFallbackMiddleware",
        "django.contrib.redirects.middleware.RedirectFallbackMiddleware",
        "django.contrib.admindocs.middleware.XViewMiddleware",
        "corsheaders.middleware.CorsMiddleware",
        "debug_toolbar.middleware.DebugToolbarMiddleware",
        "whitenoise.middleware.WhiteNoiseMiddleware",
    }
)
"""These classes alone: a subclass may do more, and runs."""

_log = Logger()


class Failed(HttpResponse):
    """The response that outer middleware sees of an exception."""

    def __init__(self, error: Exception) -> None:
        try:
            status = refusal_for(error).code
        except Exception:
            status = 500
        super().__init__(status=status)
        self.error = error


class MiddlewareChain:
    """Middleware of the site, around a function that is given for each request.

    Args:
        paths: Dotted paths, in the order of settings.MIDDLEWARE.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._view_hooks: list[Callable[..., HttpResponseBase | None]] = []
        self._exception_hooks: list[Callable[..., HttpResponseBase | None]] = []
        chain = _never_raising(lambda request: request.decide(request))
        for path in reversed(paths):
            chain = self._around(chain, path)
        self._chain = chain

    def run(self, request: ReactorRequest, decide: GetResponse) -> HttpResponseBase:
        """Call ``decide(request)`` within all middleware. Blocks.

        Returns:
            What the outermost middleware returns; a Failed has the exception that it comes from.
        """
        request.decide = decide
        try:
            return self._chain(request)
        finally:
            del request.decide

    def process_view(
        self, request: ReactorRequest, match: ResolverMatch
    ) -> HttpResponseBase | None:
        """The response of the first ``process_view`` that has one."""
        for hook in self._view_hooks:
            response = hook(request, match.func, match.args, match.kwargs)
            if response is not None:
                return response
        return None

    def process_exception(
        self, request: ReactorRequest, error: Exception
    ) -> HttpResponseBase | None:
        """The response of the first ``process_exception`` that has one."""
        for hook in self._exception_hooks:
            response = hook(request, error)
            if response is not None:
                return response
        return None

    def _around(self, inner: GetResponse, path: str) -> GetResponse:
        """One more middleware; like Django's ``BaseHandler.load_middleware``."""
        factory = import_string(path)
        is_async = not getattr(factory, "sync_capable", True)
        try:
            middleware = factory(sync_to_async(inner, thread_sensitive=True) if is_async else inner)
        except MiddlewareNotUsed:
            return inner
        if middleware is None:
            raise ImproperlyConfigured(f"Middleware factory {path} returned None.")
        if hasattr(middleware, "process_view"):
            self._view_hooks.insert(0, _synchronous(middleware.process_view))
        if hasattr(middleware, "process_exception"):
            self._exception_hooks.append(_synchronous(middleware.process_exception))
        return _never_raising(async_to_sync(middleware) if is_async else middleware)


class SiteMiddleware(NamedTuple):
    """What the site's middleware means for clients that the reactor serves.

    Attributes:
        requires_login: Whether views are closed to guests, unless they are exempt.
        chain: The middleware to run; None if there is none.
    """

    requires_login: bool
    chain: MiddlewareChain | None


_site: SiteMiddleware | None = None


def of_site() -> SiteMiddleware:
    """That of the settings, loaded once."""
    global _site
    if _site is None:
        skipped = getattr(settings, "C10K", {}).get("SKIP_MIDDLEWARE", ())
        _site = _load(settings.MIDDLEWARE, skipped)
    return _site


def _forget(setting: str, **more: Any) -> None:
    """Load it again after a test has changed the settings."""
    global _site
    if setting in ("MIDDLEWARE", "C10K"):
        _site = None


setting_changed.connect(_forget)


def _load(paths: Sequence[str], skipped: Collection[str]) -> SiteMiddleware:
    running = [path for path in paths if path not in skipped and _has_effect(import_string(path))]
    # By name, for sites with a subclass, and for those without django.contrib.auth.
    requires_login = any(LOGIN_REQUIRED in _names(import_string(path)) for path in paths)
    if running:
        _log.info(
            "handshakes and feeds pass through this middleware, in database threads: {names}",
            names=", ".join(running),
        )
    return SiteMiddleware(requires_login, MiddlewareChain(running) if running else None)


def _has_effect(factory: Any) -> bool:
    """Whether a middleware can matter to the decision on a client."""
    names = _names(factory)
    if (names and names[0] in LEFT_OUT) or not LEFT_OUT_WITH_SUBCLASSES.isdisjoint(names):
        return False
    if isinstance(factory, type) and issubclass(factory, MiddlewareMixin):
        # The usual __call__ does nothing but call these hooks and process_response.
        before = ("process_request", "process_view", "process_exception")
        is_usual = factory.__call__ is MiddlewareMixin.__call__
        return not is_usual or any(hasattr(factory, hook) for hook in before)
    return True


def _names(factory: Any) -> list[str]:
    """The dotted names of a class and its bases; none for a function."""
    return [f"{kind.__module__}.{kind.__qualname__}" for kind in getattr(factory, "__mro__", ())]


def _synchronous(hook: Callable[..., Any]) -> Callable[..., Any]:
    return async_to_sync(hook) if iscoroutinefunction(hook) else hook


def _never_raising(get_response: GetResponse) -> GetResponse:
    def answer(request: ReactorRequest) -> HttpResponseBase:
        try:
            return get_response(request)
        except Exception as error:
            return Failed(error)

    return answer
