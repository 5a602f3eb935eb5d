"""Responses of the admin port that are made later, from what the children answer."""

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET, Request

_log = Logger()


def respond(request: Request, made: "Deferred[tuple[int, bytes, bytes]]") -> int:
    """Send a response when it is made, unless the client has left.

    Args:
        request: The request.
        made: Fires with the status, the content type and the body. If it fails, the failure is
            logged and the status is 500.

    Returns:
        NOT_DONE_YET, the result of ``render_GET``.
    """
    gone: list[object] = []
    request.notifyFinish().addErrback(gone.append)

    def send(response: tuple[int, bytes, bytes]) -> None:
        if gone:
            return
        status, content_type, body = response
        request.setResponseCode(status)
        request.setHeader(b"content-type", content_type)
        request.setHeader(b"content-length", b"%d" % len(body))
        request.setHeader(b"cache-control", b"no-store")
        request.write(body)
        request.finish()

    def fail(failure: Failure) -> None:
        _log.failure("cannot answer {path!r}", failure, path=request.path)
        if not gone:
            request.setResponseCode(500)
            request.finish()

    made.addCallback(send).addErrback(fail)
    return NOT_DONE_YET
