"""layer_receivers with the layer of channels_redis that $CHANNELS_LAYER names, for uvicorn."""

import os

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="for measuring only",
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": {
                "core": "channels_redis.core.RedisChannelLayer",
                "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
            }[os.environ["CHANNELS_LAYER"]],
            "CONFIG": {
                # redis-py 8 has a timeout of 5 s, which ends the layers' waiting for messages.
                "hosts": [{"address": os.environ["CHANNELS_REDIS"], "socket_timeout": None}],
                "capacity": 1000,
            },
        }
    },
)
django.setup()

from benchmarks.competitors.layer_receivers import application  # noqa: E402

__all__ = ["application"]
