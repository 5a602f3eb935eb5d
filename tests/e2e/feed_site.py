"""A site of feeds for the tests: settings, URLs and views in one module.

``/feed/`` has the topics "plain" and "kept"; "kept" has history. ``/publish/`` is an ordinary view
that publishes; only one view runs at a time. ``/`` is a page with c10k.js.
"""

from django.http import HttpRequest, HttpResponse
from django.urls import path

from cluster import feed, publish

SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["cluster.django", "django.contrib.staticfiles"]
MIDDLEWARE = ["whitenoise.middleware.WhiteNoiseMiddleware"]
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True
USE_TZ = True
DATABASES: dict[str, dict[str, str]] = {}
C10K = {
    "TOPICS": {"kept": {"history": 1000}},
    "WSGI_THREADS": 1,
    "SEND_QUEUE_HIGH_WATER": 100_000,
    "SEND_QUEUE_LOW_WATER": 10_000,
}

PAGE = """<!doctype html><meta charset="utf-8"><title>A feed</title>
<p id="state"></p><ol id="messages"></ol>
<script src="/static/c10k/c10k.js"></script>
<script>
  const transports = new URLSearchParams(location.search).getAll("transport");
  const feed = c10k.feed("/feed/?topic=kept", transports.length ? { transports } : {});
  feed.addEventListener("state", ({ state }) => {
    document.getElementById("state").textContent = `${state} ${feed.transport}`;
  });
  feed.addEventListener("message", ({ data }) => {
    const item = document.createElement("li");
    item.textContent = data;
    document.getElementById("messages").append(item);
  });
</script>
<script type="module">
  import { Feed } from "/static/c10k/c10k.mjs";
  document.body.dataset.same = String(Feed === c10k.Feed);
</script>
"""


@feed
async def everything(request: HttpRequest) -> list[str]:
    """A feed of both topics."""
    return ["plain", "kept"]


def publish_numbers(request: HttpRequest, topic: str) -> HttpResponse:
    """Publish ``?text=…`` with a number, ``?count=…`` times."""
    for number in range(int(request.GET.get("count", "1"))):
        publish(topic, f"{request.GET['text']} {number}")
    return HttpResponse("published\n")


def page(request: HttpRequest) -> HttpResponse:
    """The page with c10k.js."""
    return HttpResponse(PAGE)


urlpatterns = [
    path("", page),
    path("feed/", everything),
    path("publish/<str:topic>/", publish_numbers),
]
