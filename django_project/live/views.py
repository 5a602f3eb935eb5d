"""The page, and the form on it: an ordinary view that publishes."""

from django import forms
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from cluster import publish
from django_project.live.handlers import TOPIC

MAX_CHARACTERS = 500


class MessageForm(forms.Form):
    """A message for all open pages."""

    message = forms.CharField(max_length=MAX_CHARACTERS)


@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """GET shows the feed; POST publishes.

    A script that asks for JSON receives the receipt. A browser without scripts is redirected to the
    page.
    """
    if request.method != "POST":
        return render(request, "live/page.html", {"form": MessageForm()})
    form = MessageForm(request.POST)
    wants_json = request.headers.get("Accept") == "application/json"
    if not form.is_valid():
        if wants_json:
            return JsonResponse({"error": form.errors["message"][0]}, status=400)
        return render(request, "live/page.html", {"form": form}, status=400)
    receipt = publish(TOPIC, form.cleaned_data["message"])
    if not wants_json:
        return redirect("live:page")
    return JsonResponse({"nodes": receipt.nodes, "connections_here": receipt.connections_here})
