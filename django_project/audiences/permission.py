"""The site's permission function, for the setting C10K["AUDIENCE_PERMISSION"]."""

from django.http import HttpRequest


def allowed(request: HttpRequest, channels: set[str]) -> set[str]:
    """Allow all clients to subscribe, and logged-in users to publish."""
    if request.user.is_authenticated:
        return channels
    return {channel for channel in channels if channel.startswith("subscribe-")}
