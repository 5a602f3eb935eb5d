"""The page at ``/``."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """The board; the page's scripts connect to ``watcher/``."""
    return render(request, "gameoflife/page.html")
