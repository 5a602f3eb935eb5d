"""The URLconf: the path of a request -> the view at it, and the handler that the view carries.

Django's own resolver does the work, so ``path()``, ``re_path()``, ``include()``, converters,
captured arguments and ``i18n_patterns()`` are the same as for any view.

On the reactor no middleware has run yet. What LocaleMiddleware takes from the path, the language of
``i18n_patterns()``, is taken from it here too. A path converter that asks the database raises
SynchronousOnlyOperation on the reactor: then the caller resolves in a database thread.
"""

from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.conf.urls.i18n import is_language_prefix_patterns_used
from django.urls import Resolver404, ResolverMatch, get_urlconf, resolve, set_urlconf
from django.utils import translation

from cluster.django.handlers.handler_decorator import Handler
from cluster.django.handshake.requests import ReactorRequest


class NoHandler(Exception):
    """The path has no view, or not one of the kind that is looked for."""


def find_handler(raw_path: str) -> tuple[Handler, ResolverMatch, str]:
    """Find the handler at a path as the client sent it.

    Returns:
        The handler, how it was resolved, and the decoded path.

    Raises:
        NoHandler: The path matches nothing, is not UTF-8, or belongs to an ordinary view.
    """
    match, path = find_view(raw_path)
    handler = handler_of(match)
    if handler is None:
        raise NoHandler
    return handler, match, path


def find_view(raw_path: str) -> tuple[ResolverMatch, str]:
    """Find the view at a path as the client sent it, and the decoded path.

    Raises:
        NoHandler: The path matches nothing or is not UTF-8.
    """
    path = decode(raw_path)
    try:
        return resolve_path(path), path
    except Resolver404 as error:
        raise NoHandler from error


def resolve_path(path: str) -> ResolverMatch:
    """Resolve a decoded path, in the language that ``i18n_patterns()`` have in it.

    Raises:
        Http404: Nothing is there.
    """
    urlconf = get_urlconf() or settings.ROOT_URLCONF
    if settings.USE_I18N and is_language_prefix_patterns_used(urlconf)[0]:
        language = translation.get_language_from_path(path) or settings.LANGUAGE_CODE
        with translation.override(language):
            return resolve(path, urlconf)
    return resolve(path, urlconf)


def decode(raw_path: str) -> str:
    """The path of a URL without its quoting.

    Raises:
        NoHandler: It is not UTF-8, or has a null character, which databases refuse.
    """
    try:
        path = unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError as error:
        raise NoHandler from error
    if "\0" in path:
        raise NoHandler
    return path


def resolve_again(request: ReactorRequest) -> ResolverMatch:
    """Resolve a request's path by the language and ``request.urlconf`` that middleware chose.

    Raises:
        Http404: Nothing is there.
    """
    urlconf = getattr(request, "urlconf", None)
    if urlconf is not None:
        set_urlconf(urlconf)
    return resolve(request.path_info, urlconf)


def handler_of(match: ResolverMatch) -> Handler | None:
    """The handler that the view of a match carries."""
    handler: Handler | None = getattr(match.func, "websocket_handler", None)
    return handler
