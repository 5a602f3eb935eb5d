"""The site of benchmarks.handover: a view that says which process answers.

Handover pipes the bytes of each connection, as under TLS, if HANDOVER_PIPES is set.
"""

import os

from django.http import HttpRequest, HttpResponse
from django.urls import path

from cluster.net.handover import handover, token_of_this_process

SECRET_KEY = "benchmark"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["cluster.django"]
MIDDLEWARE: list[str] = []

handover.PASSES_DESCRIPTORS = "HANDOVER_PIPES" not in os.environ


async def poll(request: HttpRequest) -> HttpResponse:
    return HttpResponse(token_of_this_process())


urlpatterns = [path("socket.io/", poll)]
