"""The page, and the form on it: an ordinary view that publishes to audiences."""

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from cluster import publish_to

KEPT_S = 60.0

EVERYBODY, USER, GROUP, SESSION = "broadcast", "user", "group", "session"


class MessageForm(forms.Form):
    """A message and its recipients."""

    facility = forms.SlugField(max_length=40)
    to = forms.ChoiceField(
        choices=[
            (EVERYBODY, "everybody"),
            (USER, "the user"),
            (GROUP, "the group"),
            (SESSION, "this browser session"),
        ]
    )
    name = forms.CharField(max_length=150, required=False)
    message = forms.CharField(max_length=500)
    keep = forms.BooleanField(required=False)

    def __init__(self, *args: Any, sender: Any, **kwargs: Any) -> None:
        """Args: sender: the user who publishes; a guest cannot publish to users and groups."""
        super().__init__(*args, **kwargs)
        self.sender = sender

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if given.get("to") in (USER, GROUP):
            if not self.sender.is_authenticated:
                self.add_error("to", "Log in to publish to users and groups.")
            elif not given.get("name"):
                self.add_error("name", "Whose name?")
        return given


@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """GET shows the page; POST publishes, and answers a script with the receipt."""
    if request.method != "POST":
        return render(
            request, "audiences/page.html", shown(request, MessageForm(sender=request.user))
        )
    form = MessageForm(request.POST, sender=request.user)
    wants_json = request.headers.get("Accept") == "application/json"
    if not form.is_valid():
        if wants_json:
            return JsonResponse({"error": " ".join(errors_of(form))}, status=400)
        return render(request, "audiences/page.html", shown(request, form), status=400)
    receipt = send(request, form.cleaned_data)
    if not wants_json:
        return redirect("audiences:page")
    return JsonResponse({"nodes": receipt.nodes, "connections_here": receipt.connections_here})


def send(request: HttpRequest, given: dict[str, Any]) -> Any:
    """Publish the message of a valid form; returns the receipt."""
    to = given["to"]
    return publish_to(
        given["message"],
        facility=given["facility"],
        broadcast=to == EVERYBODY,
        users=[given["name"]] if to == USER else None,
        groups=[given["name"]] if to == GROUP else None,
        sessions=[request.session] if to == SESSION else None,
        expire=KEPT_S if given["keep"] else None,
    )


def shown(request: HttpRequest, form: MessageForm) -> dict[str, Any]:
    """The context of the page.

    A guest gets a session, so that messages can be sent to it. Django does not save an empty
    session, so something is stored in it.
    """
    if not request.session.session_key:
        request.session["audiences"] = True
    user: Any = request.user
    groups = list(user.groups.values_list("name", flat=True)) if user.is_authenticated else []
    return {"form": form, "errors": errors_of(form), "groups": groups, "kept": int(KEPT_S)}


def errors_of(form: MessageForm) -> list[str]:
    """Return the errors of a form, one sentence each."""
    return [str(error) for errors in form.errors.values() for error in errors]
