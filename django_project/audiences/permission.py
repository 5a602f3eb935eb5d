"""Who may do what: named in settings, as C10K["AUDIENCE_PERMISSION"]."""

from django.http import HttpRequest


def allowed(request: HttpRequest, channels: set[str]) -> set[str]:
    """Everybody may listen to what is for them; to publish takes an account."""
    if request.user.is_authenticated:
        return channels
    return {channel for channel in channels if channel.startswith("subscribe-")}
