"""The settings of benchmarks.consumers; the URLs are in consumer_urls."""

SECRET_KEY = "benchmark"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "benchmarks.consumer_urls"
INSTALLED_APPS = ["cluster.django", "channels"]
CHANNEL_LAYERS = {"default": {"BACKEND": "cluster.channels.ClusterChannelLayer"}}
C10K = {"MAX_CONNECTIONS_PER_CLIENT": 10_000}
