"""Who may see the map and use its buttons.

The map shows processes of this machine, so it answers only clients on the same machine. The buttons
kill processes and start programs: they need the token of this run of the demo, too, which
``make demo`` makes and passes in the page's address.
"""

import os
from collections.abc import Callable
from functools import wraps
from ipaddress import ip_address
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare

TOKEN = "C10K_DEMO_TOKEN"
"""The environment variable with the token."""

View = Callable[..., HttpResponse]


def is_local(request: HttpRequest) -> bool:
    """Whether the client is on this machine, without a proxy between."""
    if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False
    try:
        return ip_address(str(request.META.get("REMOTE_ADDR", ""))).is_loopback
    except ValueError:
        return False


def has_token(request: HttpRequest) -> bool:
    """Whether the form has the token of this run."""
    token = os.environ.get(TOKEN, "")
    return bool(token) and constant_time_compare(token, request.POST.get("token", ""))


def local(view: View) -> View:
    """Refuse clients of other machines with 403."""

    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not is_local(request):
            raise PermissionDenied("The map of the cluster is for browsers on the same machine.")
        return view(request, *args, **kwargs)

    return checked
