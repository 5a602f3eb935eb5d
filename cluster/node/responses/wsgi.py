"""Runs the site's WSGI application (PEP 3333) for one request in a thread.

The rules:

* a response that is complete when the application returns goes to the event loop in one call;
* a response in pieces goes there as the application yields them, and the thread waits while the
  client reads more slowly (stream.py);
* a file in ``wsgi.file_wrapper`` is sent by the event loop (file_body.py); the thread is free;
* when the client leaves, the application's iterator is closed, and the rest of it is not run.
"""

import io
import os
import stat
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIApplication
from wsgiref.util import FileWrapper

from twisted.logger import Logger
from twisted.python.failure import Failure

from cluster.node.responses.file_body import answer_with_file
from cluster.node.responses.stream import Stream

NO_BODY = frozenset({204, 304})

_OPEN_FILES = (io.FileIO, io.BufferedReader, io.BufferedRandom)

_log = Logger()

Headers = list[tuple[str, str]]


class ErrorStream:
    """``wsgi.errors``: what is written goes to the log."""

    def write(self, text: str) -> None:
        _log.error("{text}", text=text.rstrip("\n"), system="wsgi")

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        """Nothing is buffered."""


@lru_cache(1000)
def _variable(name: bytes) -> str:
    return "HTTP_" + name.decode("latin-1").upper().replace("-", "_")


def environ_of(request: Any) -> dict[str, Any]:
    """The variables of a request that has arrived completely. Call it in the event loop."""
    header = request.requestHeaders.getRawHeaders
    client = request.getClientAddress()
    query = request.uri.partition(b"?")[2]
    path = b"/" + unquote_to_bytes(request.path[1:])
    environ = {
        "REQUEST_METHOD": request.method.decode("latin-1"),
        "REMOTE_ADDR": client.host,
        "REMOTE_PORT": str(client.port),
        "SCRIPT_NAME": "",
        "PATH_INFO": path.decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "CONTENT_TYPE": (header(b"content-type") or (b"",))[-1].decode("latin-1"),
        "CONTENT_LENGTH": (header(b"content-length") or (b"",))[-1].decode("latin-1"),
        "SERVER_NAME": request.getRequestHostname().decode("latin-1"),
        "SERVER_PORT": str(request.getHost().port),
        "SERVER_PROTOCOL": request.clientproto.decode("latin-1"),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if request.isSecure() else "http",
        "wsgi.run_once": False,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.errors": ErrorStream(),
        "wsgi.input": request.content,
        "wsgi.file_wrapper": FileWrapper,
    }
    for name, values in request.requestHeaders.getAllRawHeaders():
        environ[_variable(name)] = b",".join(values).decode("latin-1").replace("\n", " ")
    return environ


class WsgiCall:
    """One call of the application. Make it in the event loop, and ``run`` it in a thread.

    Args:
        reactor: The reactor of the node.
        application: The WSGI application.
        request: The request, which has arrived completely.
    """

    def __init__(self, reactor: Any, application: WSGIApplication, request: Any) -> None:
        self._reactor = reactor
        self._application = application
        self._request = request
        self._environ = environ_of(request)
        self._head: tuple[int, str, Headers] | None = None
        self._stream: Stream | None = None

    def run(self) -> None:
        """Call the application, and send its response. Raises nothing."""
        if self._request.is_gone:
            return
        result: Any = None
        try:
            try:
                result = self._application(self._environ, self._start_response)
                self._send(result)
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
            if self._stream is not None:
                self._stream.end()
        except BaseException:
            self._reactor.callFromThread(self._failed, Failure())

    def _start_response(
        self, status: str, headers: Headers, error: Any = None
    ) -> Callable[[bytes], object]:
        if error is not None and self._stream is not None:
            raise error[1].with_traceback(error[2])
        code, _, phrase = status.partition(" ")
        for name, value in headers:
            if not (isinstance(name, str) and isinstance(value, str)):
                raise TypeError(f"header must be (str, str) tuple, not {(name, value)!r}")
        self._head = int(code), phrase, headers
        return self._write

    def _write(self, data: bytes) -> None:
        """Send a piece of a body whose end is not known."""
        if self._stream is None:
            assert self._head is not None
            code, phrase, headers = self._head
            head = code, phrase, _own_headers(headers)[0]
            self._stream = Stream(self._reactor, self._request, head)
        self._stream.write(data)

    def _send(self, result: Any) -> None:
        if self._stream is None and type(result) is FileWrapper and self._send_file(result):
            return
        # Django's response is its own iterator. It has its body at once unless it is streamed.
        if getattr(result, "streaming", True) is False:
            body: bytes | None = result.content
        else:
            body = result[0] if isinstance(result, list) and len(result) == 1 else None
        if body is not None and self._stream is None:
            self._answer(body)
            return
        for piece in result:
            if piece:
                self._write(piece)
            if self._request.is_gone:
                return
        if self._stream is None:
            self._answer(b"")

    def _answer(self, body: bytes) -> None:
        if self._head is None:
            raise RuntimeError("the WSGI application has not called start_response")
        self._reactor.callFromThread(self._answered, body, *self._head)

    def _send_file(self, wrapper: FileWrapper) -> bool:
        """Leave a file to the event loop; False if it is none of the operating system."""
        file: Any = wrapper.filelike
        while not isinstance(file, _OPEN_FILES) and hasattr(file, "file"):
            file = file.file  # of Django's File, and of temporary files
        if self._head is None or not isinstance(file, _OPEN_FILES):
            return False
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            return False
        if file.writable():
            file.flush()
        position = file.tell()
        # A descriptor of its own: the application closes its file now, in its thread.
        own = open(os.dup(file.fileno()), "rb", buffering=0)  # noqa: SIM115
        self._reactor.callFromThread(
            self._sent_file, own, position, max(0, state.st_size - position), *self._head
        )
        return True

    # In the event loop.

    def _answered(self, body: bytes, code: int, phrase: str, headers: Headers) -> None:
        request = self._request
        if request.is_gone:
            return
        headers, declared = _own_headers(headers)
        has_body = request.method != b"HEAD" and code not in NO_BODY
        if declared is None and code not in NO_BODY and (body or has_body):
            headers.append(("Content-Length", str(len(body))))
        elif has_body and declared != len(body):
            request.channel.persistent = False
        request.answer(code, phrase, headers, body if has_body else b"")

    def _sent_file(
        self, file: Any, position: int, size: int, code: int, phrase: str, headers: Headers
    ) -> None:
        request = self._request
        if request.is_gone:
            file.close()
            return
        headers, declared = _own_headers(headers)
        if declared is None:
            headers.append(("Content-Length", str(size)))
        else:
            size = declared
        if request.method == b"HEAD" or code in NO_BODY or not size:
            file.close()
            request.answer(code, phrase, headers, b"")
            return
        answer_with_file(request, file, position, size, code, phrase, headers)

    def _failed(self, failure: Failure) -> None:
        _log.failure("WSGI application error", failure=failure)
        request = self._request
        if request.is_gone:
            return
        if request.startedWriting:
            request.loseConnection()
        else:
            request.setResponseCode(500)
            request.setHeader(b"Content-Length", b"0")
            request.finish()


def _own_headers(headers: Headers) -> tuple[Headers, int | None]:
    """The headers that an application may set, and its Content-Length."""
    found, declared = [], None
    for name, value in headers:
        lower = name.lower()
        if lower == "content-length":
            if not (value.isascii() and value.isdigit()):
                continue
            declared = int(value)
        if lower not in ("date", "server", "connection", "transfer-encoding"):
            found.append((name, value))
    return found, declared
