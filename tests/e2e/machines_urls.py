"""Handlers for clusters that share a Redis."""

from django.urls import path

from cluster import WebSocket, members, websocket
from django_project.urls import urlpatterns as demo_urls


@websocket
async def room(ws: WebSocket, name: str) -> None:
    """Every message is published; "/meet" waits for two parties, "/who" asks for the members."""
    topic = f"room/{name}"
    subscription = await ws.subscribe(topic, since=ws.request.GET.get("since"))
    await ws.send_json({"position": subscription.position, "recovered": subscription.recovered})
    ws.on_presence(topic, lambda who, here: ws.send_now(f"{'+' if here else '-'}{who}"))
    ws.join(topic, ws.request.GET["me"])
    async for message in ws:
        if message == "/meet":
            await ws.barrier(f"meeting of {name}", 2, "met")
        elif message == "/who":
            await ws.send_json(sorted(members(topic)))
        else:
            ws.publish(topic, message)


@websocket
async def plain(ws: WebSocket) -> None:
    """Every message is published to a topic without history."""
    ws.subscribe("plain")
    async for message in ws:
        ws.publish("plain", message)


urlpatterns = [path("room/<name>/", room), path("plain/", plain), *demo_urls]
