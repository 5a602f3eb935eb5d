"""The pages: an interactive conversation, and forms that the same process answers by WSGI."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_safe

MAX_SHOWN = 1000


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """The page of the conversation; its script connects to /test/ws/."""
    return render(request, "echo/page.html")


@require_http_methods(["GET", "HEAD", "POST"])
def wsgi(request: HttpRequest) -> HttpResponse:
    """Show the fields that the browser sent by GET or by POST."""
    arrived = request.POST if request.method == "POST" else request.GET
    shown = [(name, value[:MAX_SHOWN]) for name, values in arrived.lists() for value in values]
    return render(
        request,
        "echo/wsgi.html",
        {"arrived": [pair for pair in shown if pair[0] != "csrfmiddlewaretoken"]},
    )
