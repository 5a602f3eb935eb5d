"""The static files of a site, answered by the event loop: no thread waits, and no view is found.

The index of the files, their headers, and the answers to conditional requests, ranges and encodings
are those of WhiteNoise, which reads the folders when the site starts. What its index does not have
goes to Django as before; so does everything

* with WHITENOISE_AUTOREFRESH, or DEBUG without it: there is no index;
* of a site with other middleware before WhiteNoise than that in UNIFORM, because it could refuse a
  request or change the response;
* of a WSGI or ASGI application that wraps Django's own, for the same reason.

The headers that the middleware before WhiteNoise adds are taken from its response to a request of
the node's own, for HTTP and HTTPS each.
"""

import os
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIApplication

from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.utils.module_loading import import_string
from twisted.logger import Logger
from whitenoise import WhiteNoise
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import Redirect, StaticFile

from cluster.node.responses.file_body import answer_with_file
from cluster.node.responses.open_files import OpenFiles

Headers = list[tuple[str, str]]

SMALL = 64 * 1024
"""Bytes of a body that is sent together with its header."""

UNIFORM = frozenset(
    {
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.csp.ContentSecurityPolicyMiddleware",
    }
)
"""Middleware whose effect on a static file depends on HTTP or HTTPS alone."""

_NAMES = (
    (b"accept-encoding", "HTTP_ACCEPT_ENCODING"),
    (b"if-none-match", "HTTP_IF_NONE_MATCH"),
    (b"if-modified-since", "HTTP_IF_MODIFIED_SINCE"),
    (b"range", "HTTP_RANGE"),
)
"""The request headers that WhiteNoise reads, as WSGI names them."""

_SERVING = ("__call__", "serve")
"""The methods by which WhiteNoise answers."""

_log = Logger()


class _Index(NamedTuple):
    """What is known of a site's static files.

    Attributes:
        files: WhiteNoise's files, by path.
        insecure: The headers that middleware adds to a response over HTTP; None if Django must
            answer, for example with a redirect to HTTPS.
        secure: The same over HTTPS.
    """

    files: Mapping[str, Any]
    insecure: Headers | None
    secure: Headers | None


class StaticFiles:
    """Answers the requests of static files.

    Args:
        application: The WSGI application of the site. Django must be loaded.
        asgi: The ASGI application of the whole site, if it has one in place of the other.
    """

    def __init__(self, application: WSGIApplication, asgi: Any = None) -> None:
        self._index = _index_of(application, asgi)
        self._files = self._index.files
        self._proxy_header = settings.SECURE_PROXY_SSL_HEADER
        self._open_files = OpenFiles()
        self._complete: dict[tuple[StaticFile, str, bool], tuple[Headers, int]] = {}
        """The headers of whole files that were requested, and their sizes; by WhiteNoise's file,
        which belongs to a URL, the path of its encoding, and whether over HTTPS."""

    def __len__(self) -> int:
        """The number of paths."""
        return len(self._files)

    def take(self, request: Any) -> bool:
        """Answer a request, or return False if its path is not that of a static file."""
        path = request.path
        if b"%" in path:
            path = unquote_to_bytes(path)
        found = self._files.get(path.decode("utf-8", "replace"))
        if found is None:
            return False
        added = self._index.secure if self._is_secure(request) else self._index.insecure
        if added is None:
            return False
        header = request.requestHeaders.getRawHeaders
        environ = {
            key: b",".join(values).decode("latin-1")
            for name, key in _NAMES
            if (values := header(name)) is not None
        }
        method = request.method.decode("latin-1")
        if method == "GET" and type(found) is StaticFile and not found.is_not_modified(environ):
            return self._send_file(request, found, environ, added)
        if type(found) not in (StaticFile, Redirect):
            return False
        response = found.get_response(method, environ)  # without a file
        has_no_length = method != "HEAD" and response.status != HTTPStatus.NOT_MODIFIED
        _send_header(request, response, added, has_no_length)
        return True

    def _send_file(
        self, request: Any, found: StaticFile, environ: dict[str, str], added: Headers
    ) -> bool:
        """Answer as WhiteNoise would, with a file that stays open; False if it cannot be read."""
        path, headers = found.get_path_and_headers(environ)
        status, offset = HTTPStatus.OK, 0
        if "HTTP_RANGE" in environ:
            # WhiteNoise would open the file for GET.
            response = found.get_response("HEAD", environ)
            status = response.status
            if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                _send_header(request, response, added, True)
                return True
            if status == HTTPStatus.PARTIAL_CONTENT:
                offset = _start_of(response.headers)
            headers, size = _with_added(response.headers, added)
        else:
            key = (found, path, added is self._index.secure)
            complete = self._complete.get(key)
            if complete is None:
                complete = self._complete[key] = _with_added(headers, added)
            headers, size = complete
        try:
            file = self._open_files.open(path, request.site.sockets.fits)
            if size <= SMALL:
                try:
                    body = os.pread(file.fileno(), size, offset)
                finally:
                    file.close()
        except OSError as error:
            self._open_files.forget(path)
            _log.warn("cannot read a static file: {error}", error=error)
            return False  # Django answers 500
        forget = partial(self._open_files.forget, path)
        if size > SMALL:
            answer_with_file(request, file, offset, size, status, status.phrase, headers, forget)
            return True
        if len(body) != size:  # the file was changed after the start
            forget()
            headers = [item for item in headers if item[0] != "Content-Length"]
            headers.append(("Content-Length", str(len(body))))
        request.answer(status, status.phrase, headers, body)
        return True

    def close(self) -> None:
        """Close the files that stay open."""
        self._open_files.close()

    def _is_secure(self, request: Any) -> bool:
        """Whether Django regards the request as one over HTTPS."""
        if self._proxy_header:
            name, secure = self._proxy_header
            value = request.getHeader(name.removeprefix("HTTP_").replace("_", "-").lower())
            if value is not None:
                return bool(value.split(",")[0].strip() == secure)
        return bool(request.isSecure())


def _send_header(request: Any, response: Any, added: Headers, has_no_length: bool) -> None:
    """Send a response of WhiteNoise without a body."""
    headers, _ = _with_added(response.headers, added)
    if has_no_length:
        headers = [*headers, ("Content-Length", "0")]
    request.answer(response.status, response.status.phrase, headers, b"")


def _start_of(headers: Headers) -> int:
    """Where the range of a response begins in the file."""
    value = next(value for name, value in headers if name == "Content-Range")
    return int(value.removeprefix("bytes ").partition("-")[0])


def _with_added(headers: Headers, added: Headers) -> tuple[Headers, int]:
    """The headers of a response with those that middleware adds, and the Content-Length."""
    names = {name.lower(): value for name, value in headers}
    size = int(names.get("content-length", 0))
    return headers + [item for item in added if item[0].lower() not in names], size


def _index_of(application: WSGIApplication, asgi: Any) -> _Index:
    outermost: Any = application
    if asgi is not None:
        # Channels' ProtocolTypeRouter is as good as the application that it has for HTTP.
        inner = getattr(asgi, "application_mapping", {}).get("http", asgi)
        if type(inner) is not ASGIHandler:
            return _by_django("the ASGI application wraps that of Django")
    if type(outermost) is WhiteNoise and type(outermost.application) is WSGIHandler:
        return _Index({} if outermost.autorefresh else outermost.files, [], [])
    outer: list[str] = []
    for path in settings.MIDDLEWARE:
        factory: Any = import_string(path)
        if isinstance(factory, type) and issubclass(factory, WhiteNoiseMiddleware):
            break
        outer.append(path)
    else:
        return _Index({}, None, None)
    if any(getattr(factory, name) is not getattr(WhiteNoiseMiddleware, name) for name in _SERVING):
        return _by_django(f"{path} changes how files are served")
    if type(application) is not WSGIHandler:
        return _by_django("the WSGI application wraps that of Django")
    if others := [each for each in outer if each not in UNIFORM]:
        return _by_django(f"{', '.join(others)} runs before WhiteNoise")
    whitenoise = factory(lambda request: HttpResponse())
    if whitenoise.autorefresh:
        return _Index({}, None, None)
    return _Index(whitenoise.files, _added_by(outer, "http"), _added_by(outer, "https"))


def _by_django(reason: str) -> _Index:
    _log.info("views' threads answer static files, not the event loop: {reason}", reason=reason)
    return _Index({}, None, None)


def _added_by(outer: list[str], scheme: str) -> Headers | None:
    """The headers that middleware adds to a response; None if it answers by itself."""
    inner = HttpResponse()
    del inner["Content-Type"]

    def answer(request: HttpRequest) -> HttpResponse:
        return inner

    chain: Any = answer
    for path in reversed(outer):
        chain = import_string(path)(chain)
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": settings.STATIC_URL or "/",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80" if scheme == "http" else "443",
        "wsgi.input": BytesIO(),
        "wsgi.url_scheme": scheme,
    }
    response = chain(WSGIRequest(environ))
    return list(response.items()) if response is inner else None
