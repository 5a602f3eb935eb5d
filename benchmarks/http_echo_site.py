"""The site of benchmarks.http_echo: that of benchmarks.http, with an echo beside its views."""

from django.urls import path

from benchmarks.competitors import http_site
from benchmarks.slow_site import echo

for _name in dir(http_site):
    if _name.isupper():
        globals()[_name] = getattr(http_site, _name)

ROOT_URLCONF = __name__

urlpatterns = [*http_site.urlpatterns, path("echo/", echo)]
