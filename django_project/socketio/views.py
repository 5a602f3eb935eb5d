"""The page of a room."""

from functools import cache

from django.contrib.staticfiles import finders
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import NoReverseMatch, reverse
from django.views.decorators.http import require_safe

from django_project.chat.handlers import MAX_CHARACTERS
from django_project.chat.names import keep_name

CLIENT = "socket.io-client/socket.io.min.js"
"""The client among the static files; the settings find it in node_modules."""


@cache
def has_client() -> bool:
    """Whether the client was installed when the site started."""
    return finders.find(CLIENT) is not None


@require_safe
def lobby(request: HttpRequest) -> HttpResponse:
    """The room without a name; ``?room=NAME`` (from the page's form) redirects to another room."""
    room = "-".join(request.GET.get("room", "").split())
    if room:
        try:
            return redirect(reverse("socketio:room", kwargs={"room": room}))
        except NoReverseMatch:
            return page(request, is_none=True)
    return page(request)


@require_safe
def page(request: HttpRequest, room: str = "", is_none: bool = False) -> HttpResponse:
    """The page of a room; a guest without a name receives one, which is stored in the session."""
    return render(
        request,
        "socketio/page.html",
        {
            "room": room,
            "is_none": is_none,
            "name": keep_name(request.user, request.session),
            "max_characters": MAX_CHARACTERS,
            "client": CLIENT if has_client() else "",
        },
    )
