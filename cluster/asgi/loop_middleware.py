"""Django's own middleware for async views, without a thread where it does not block.

Django runs each hook of its middleware in a thread, some ten in a usual project. Most of them only
look at headers: they cost less than the way to a thread and back. The classes here are Django's,
and run a hook in the event loop unless it may ask the database, which RULES decides for each
request. Middleware of the project, subclasses included, runs as Django adapts it.

Django imports the classes by their dotted paths, which ``in_loop`` returns.
"""

from collections.abc import Callable, Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils.deprecation import MiddlewareMixin
from django.utils.module_loading import import_string

SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
"""Methods for which no form is read (RFC 9110, section 9.2.1)."""

Rule = Callable[[Any], bool]


def _never(request: Any) -> bool:
    return False


def _saves_session(request: Any) -> bool:
    session = getattr(request, "session", None)
    return session is not None and (session.modified or settings.SESSION_SAVE_EVERY_REQUEST)


def _reads_form(request: Any) -> bool:
    return settings.CSRF_USE_SESSIONS or request.method not in SAFE_METHODS


def _stores_messages(request: Any) -> bool:
    messages = getattr(request, "_messages", None)
    return messages is not None and (messages.used or messages.added_new)


RULES: dict[str, tuple[str, Rule, Rule]] = {
    path.rpartition(".")[2]: (path, before, after)
    for path, before, after in (
        ("django.middleware.security.SecurityMiddleware", _never, _never),
        ("django.middleware.common.CommonMiddleware", _never, _never),
        ("django.middleware.clickjacking.XFrameOptionsMiddleware", _never, _never),
        ("django.middleware.csp.ContentSecurityPolicyMiddleware", _never, _never),
        ("django.middleware.locale.LocaleMiddleware", _never, _never),
        ("django.middleware.csrf.CsrfViewMiddleware", _reads_form, _reads_form),
        ("django.contrib.sessions.middleware.SessionMiddleware", _never, _saves_session),
        ("django.contrib.auth.middleware.AuthenticationMiddleware", _never, _never),
        ("django.contrib.messages.middleware.MessageMiddleware", _never, _stores_messages),
    )
}
"""The name of a class -> its dotted path, and whether its hooks before the view, and that after it,
need a thread for a request."""


def in_loop(paths: Sequence[str]) -> list[str]:
    """The dotted paths of middleware, with those of the classes here in place of Django's."""
    ours = {path: f"{__name__}.{name}" for name, (path, _, _) in RULES.items()}
    return [ours.get(path, path) for path in paths]


def __getattr__(name: str) -> Any:
    """Make one of the classes, when Django imports it: some need the applications of the site."""
    if name not in RULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    path, before, after = RULES[name]
    django_class = import_string(path)
    is_usual = (
        django_class.__call__ is MiddlewareMixin.__call__
        and django_class.__acall__ is MiddlewareMixin.__acall__
    )
    made: Any = _class_for(django_class, before, after) if is_usual else django_class
    globals()[name] = made
    return made


def _class_for(django_class: Any, before: Rule, after: Rule) -> Any:
    async def call(self: Any, request: Any) -> Any:
        response = None
        if hasattr(self, "process_request"):
            response = await _call(before, request, self.process_request, request)
        response = response or await self.get_response(request)
        if hasattr(self, "process_response"):
            response = await _call(after, request, self.process_response, request, response)
        return response

    async def process_view(self: Any, request: Any, *args: Any) -> Any:
        return await _call(before, request, django_class.process_view, self, request, *args)

    methods: dict[str, Any] = {"__acall__": call}
    if hasattr(django_class, "process_view"):
        methods["process_view"] = process_view
    return type(django_class.__name__, (django_class,), methods)


async def _call(rule: Rule, request: Any, hook: Callable[..., Any], *args: Any) -> Any:
    if rule(request):
        return await sync_to_async(hook, thread_sensitive=True)(*args)
    return hook(*args)
