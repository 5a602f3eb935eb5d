"""Calls of the application's functions that decide about a client, where they may block.

Accept functions, decorated views and functions of feeds: a coroutine function runs on the reactor,
any other in a database thread. What middleware made active for the request (its language, its time
zone; see request_context) is active in both.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpResponseBase, StreamingHttpResponse

from cluster.django.api.database_threads import ain_database
from cluster.django.handshake.requests import ReactorRequest

Function = Callable[..., Any]


async def call_permission(
    function: Function,
    request: ReactorRequest,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Any:
    """Return what the function returns, and raise what it raises.

    A response that it returns is complete: its template is rendered, its stream is read.
    """
    if not iscoroutinefunction(function):
        return await ain_database(_call_in_thread, function, request, args, kwargs)
    running = function(request, *args, **kwargs)
    if request.context is not None:
        loop = asyncio.get_running_loop()
        running = loop.create_task(running, context=request.context.for_task())
    result = await running
    if _is_incomplete(result):
        result = await ain_database(_completed, result)
    elif isinstance(result, StreamingHttpResponse) and result.is_async:
        result.streaming_content = [b"".join([part async for part in result])]
    return result


def call_blocking(
    function: Function, request: ReactorRequest, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """The same for a function that is no coroutine function, by a caller that may be blocked."""
    result = function(request, *args, **kwargs)
    return _completed(result) if _is_incomplete(result) else result


def _call_in_thread(
    function: Function, request: ReactorRequest, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    if request.context is not None:
        request.context.activate()
    return call_blocking(function, request, args, kwargs)


def _is_incomplete(result: object) -> bool:
    """Whether rendering or reading a response is left to do, which may block."""
    if isinstance(result, StreamingHttpResponse):
        return not result.is_async
    return isinstance(result, HttpResponseBase) and not getattr(result, "is_rendered", True)


def _completed(result: Any) -> Any:
    if isinstance(result, StreamingHttpResponse):
        result.streaming_content = [b"".join(result)]
        return result
    return result.render()
