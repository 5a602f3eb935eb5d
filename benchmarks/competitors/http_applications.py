"""The WSGI and the ASGI application of http_site, for the servers that import one."""

import os

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.competitors.http_site"

wsgi = get_wsgi_application()
asgi = get_asgi_application()
