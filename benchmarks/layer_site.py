"""The site of benchmarks.channel_layer: competitors.layer_receivers, mounted in the cluster."""

from django.urls import path

from benchmarks.competitors.layer_receivers import application
from cluster.asgi import asgi

SECRET_KEY = "benchmark"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = __name__
INSTALLED_APPS = ["cluster.django", "channels"]
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "cluster.channels.ClusterChannelLayer",
        "CONFIG": {"capacity": 1000},  # as that of competitors.layer_site
    }
}

urlpatterns = [path("", asgi(application))]
