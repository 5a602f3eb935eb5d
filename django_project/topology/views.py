"""The page, the status of the cluster as JSON, and what the page's buttons do."""

import os
import signal
import subprocess
import sys
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from cluster import ClusterError, operate
from django_project.topology.access import has_token, is_local, local

SIZE, STEPS, RATE = 16, 1200, 6
"""The small game that the page starts: cells on a side, steps, and steps a second."""


@require_safe
@local
def page(request: HttpRequest) -> HttpResponse:
    """The game with the nodes' colours, and the map."""
    return render(request, "topology/page.html")


@require_safe
@local
def status(request: HttpRequest) -> HttpResponse:
    """What ``c10k status --json`` prints."""
    try:
        return JsonResponse(operate("status"))
    except ClusterError as error:
        return JsonResponse({"error": str(error)}, status=503)


@require_POST
@local
def kill(request: HttpRequest) -> HttpResponse:
    """Send SIGKILL to the process whose name and ID the form has."""
    if not has_token(request):
        return _refused("Open this page with the address that make demo prints.")
    name, pid = request.POST.get("process", ""), request.POST.get("pid", "")
    try:
        processes: list[dict[str, Any]] = operate("status")["processes"]
    except ClusterError as error:
        return JsonResponse({"error": str(error)}, status=503)
    # If this node is the one, there is no response, and a browser may send the request again.
    is_current = any(each["name"] == name and str(each["pid"]) == pid for each in processes)
    if not (pid.isdigit() and is_current):
        return JsonResponse({"error": f"{name} has ended already."}, status=409)
    try:
        os.kill(int(pid), signal.SIGKILL)
    except ProcessLookupError:
        return JsonResponse({"error": f"{name} has ended already."}, status=409)
    return JsonResponse({"killed": name})


@require_POST
def play(request: HttpRequest) -> HttpResponse:
    """Start a small game on this cluster, in a process of its own."""
    if not is_local(request):
        return _refused("Games are started from the same machine only.")
    url = f"ws://127.0.0.1:{request.get_port()}/"
    command = [
        *(sys.executable, "-m", "workers", "life", "--url", url, "--size", str(SIZE)),
        *("--steps", str(STEPS), "--limit", str(RATE), "--json"),
        *("--timeout", "5", "--stall-timeout", "10"),  # it ends soon after the cluster
    ]
    subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return JsonResponse({"size": SIZE})


def _refused(why: str) -> HttpResponse:
    return JsonResponse({"error": why}, status=403)
