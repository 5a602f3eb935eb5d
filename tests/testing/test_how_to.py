"""The Python of docs/how-to runs, and its handlers, feeds and tests work as the guides describe.

Objects that a guide takes from the reader's project (models, a function) are fakes below.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from types import ModuleType, SimpleNamespace
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import URLRouter
from django.test import override_settings
from django.urls import path
from twisted.trial.unittest import TestCase

import cluster
from cluster.asgi import asgi
from cluster.django import conf
from cluster.django.api import topics
from cluster.socketio import ConnectionRefused, Namespace, Socket, SocketIO
from cluster.testing import (
    Closed,
    Refused,
    asynchronous,
    capture_publications,
    connect,
    connect_socketio,
)
from tests.django.site import load_database
from tests.testing.test_django import run_tests
from tests.testing.test_examples import ROOT, ExampleTestCase, examples

IN_A_BROWSER = {"htmx.md", "turbo.md"}  # whole sites, for which there is a test of their own
GUIDES = sorted(
    str(page.relative_to(ROOT))
    for page in (ROOT / "docs" / "how-to").glob("*.md")
    if page.name not in IN_A_BROWSER
)


class User(str):
    """A user who is their name."""

    @property
    def username(self) -> str:
        return str(self)


class DoesNotExist(Exception):
    """The exception of a model."""


class Records:
    """Fake of a model, its manager and its querysets: records, filtered by equal attributes."""

    DoesNotExist = DoesNotExist

    def __init__(self, *records: SimpleNamespace) -> None:
        self.records = records
        self.objects = self

    def filter(self, **wanted: object) -> "Records":
        return Records(
            *(
                record
                for record in self.records
                if all(getattr(record, name, None) == value for name, value in wanted.items())
            )
        )

    def get(self, **wanted: object) -> SimpleNamespace:
        found = self.filter(**wanted).records
        if not found:
            raise DoesNotExist
        return found[0]

    def exists(self) -> bool:
        return bool(self.records)

    def update(self, **values: object) -> None:
        for record in self.records:
            vars(record).update(values)

    def __iter__(self) -> Iterator[SimpleNamespace]:
        return iter(self.records)


class Opened:
    """A WebSocket that a program opens with the library `websockets`; records the arguments."""

    def __init__(self, url: str, **options: Any) -> None:
        self.url, self.options = url, options
        last_opened.append(self)

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def recv(self) -> str:
        return "hello"


last_opened: list[Opened] = []


def module(name: str, **names: object) -> ModuleType:
    """Create a module that a guide imports and that is not installed here."""
    made = ModuleType(name)
    vars(made).update(names)
    return made


@contextmanager
def importable(*modules: ModuleType) -> Iterator[None]:
    """Make ``import`` find these modules in the block."""
    before = {each.__name__: sys.modules.get(each.__name__) for each in modules}
    sys.modules.update({each.__name__: each for each in modules})
    try:
        yield
    finally:
        for name, found in before.items():
            if found is None:
                del sys.modules[name]
            else:
                sys.modules[name] = found


def visitor(pk: int | None, **more: object) -> SimpleNamespace:
    """Create a user's request, with the attributes that the guides use."""
    user = SimpleNamespace(pk=pk, is_authenticated=pk is not None)
    return SimpleNamespace(user=user, **more)


def project() -> dict[str, Any]:
    """Return the names that guides use without importing them."""
    from django.core.exceptions import PermissionDenied

    room = SimpleNamespace(pk=1, name="lobby", members=Records(SimpleNamespace(pk=7)))
    anna = SimpleNamespace(pk=7, username="anna", groups__name="interns", is_active=True)
    return {
        "__name__": "example",
        "ApiToken": Records(SimpleNamespace(digest="digest of abc")),
        "Order": type("Order", (), {}),
        "Membership": Records(SimpleNamespace(room="lobby", user=None)),
        "PermissionDenied": PermissionDenied,
        "Room": Records(room),
        "User": Records(anna),
        "convert": lambda value, user: {"value": value, "for": user.username},
        "board_state": lambda pk: {"board": pk, "cards": []},
        "build_report": lambda pk: SimpleNamespace(url=f"/reports/{pk}/"),
        "digest": lambda token: f"digest of {token}",
        "feed": cluster.feed,
        "json": __import__("json"),
        "path": path,
        "publish": cluster.publish,
        "read_temperature": lambda: 21.5,
        "topic_messages": cluster.topic_messages,
        "websocket": cluster.websocket,
        "websocket_urlpatterns": [],
    }


def ours(page: str) -> list[str]:
    """Return the examples of a guide, without those of the libraries that it migrates from."""
    return [text for text in examples(page) if not text.startswith("# before")]


class GuideTestCase(ExampleTestCase):
    def run_text(self, text: str, names: dict[str, Any]) -> None:
        """Run an example with these names, and add the names that it defines."""
        with (
            importable(
                module("requests", Session=lambda: SimpleNamespace(cookies={"sessionid": "abc"})),
                module("websockets.sync.client", connect=Opened),
                module("httpx"),
                module("sentry_sdk", init=lambda dsn: None),
                module("polls.models", Poll=Records()),
            ),
            redirect_stdout(StringIO()),
        ):
            exec(compile(text, "<example>", "exec"), names)

    def run_example(self, page: str, part: str) -> dict[str, Any]:
        """Run the only example of docs/how-to/PAGE.md with this part; returns its names."""
        texts = [text for text in ours(f"docs/how-to/{page}.md") if part in text]
        self.assertEqual(1, len(texts), f"{page}: {part}")
        names = project()
        self.run_text(texts[0], names)
        return names


class AllExamplesTests(GuideTestCase):
    def test_all_run_in_their_order(self) -> None:
        self.patch(topics, "_listeners", [])  # what the examples listen to
        count = 0
        for page in GUIDES:
            names = project()
            for text in ours(page):
                with capture_publications():
                    self.run_text(text, names)
                count += 1
        self.assertGreater(count, 15)


class UsersTests(GuideTestCase):
    """auth.md"""

    @asynchronous
    async def test_a_guest(self) -> None:
        self.serve((path("notes/", self.run_example("auth", "log in first")["notes"]),))
        async with connect("/notes/") as client:
            self.assertEqual(Closed(4401, "log in first"), await client.closed())

    @asynchronous
    async def test_who_may_connect(self) -> None:
        decorated = self.run_example("auth", "permission_required(")
        self.serve(
            (
                path("notes/", decorated["notes"]),
                path("orders/", decorated["orders"]),
                path("mine/", self.run_example("auth", "def mine")["mine"]),
            )
        )
        for url in ("/notes/", "/orders/", "/mine/"):
            with self.assertRaises(Refused) as caught:
                async with connect(url, subprotocols=["c10k.v1"]):
                    pass
            self.assertEqual(403, caught.exception.status)

    def test_an_accept_function(self) -> None:
        from django.core.exceptions import PermissionDenied
        from django.http import Http404

        accept = self.run_example("auth", "def accept(request, pk)")["accept"]
        self.assertEqual({"X-Room": "lobby"}, accept(visitor(7), 1).headers)
        with self.assertRaises(PermissionDenied):
            accept(visitor(8), 1)
        with self.assertRaises(Http404):
            accept(visitor(7), 2)

    @asynchronous
    async def test_an_accept_function_of_a_handler(self) -> None:
        names = self.run_example("auth", "def accept(request, pk)")
        self.serve((path("<int:pk>/", names["room"]),))
        for url, status in (("/1/", 403), ("/2/", 404)):
            with self.assertRaises(Refused) as caught:
                async with connect(url):
                    pass
            self.assertEqual(status, caught.exception.status)

    def test_a_feed(self) -> None:
        from django.core.exceptions import PermissionDenied

        names: dict[str, Any] = {}

        def feed(topics: Any) -> Any:
            names["topics"] = topics

        self.patch(cluster, "feed", feed)
        self.run_example("auth", "def mine")
        self.assertEqual(["user/7", "news"], names["topics"](visitor(7)))
        with self.assertRaises(PermissionDenied):
            names["topics"](visitor(None))

    def test_revoking(self) -> None:
        revoked: list[Any] = []
        self.patch(cluster, "revoke", lambda user: revoked.append(user))
        names = self.run_example("auth", "revoke(user=user)")
        self.assertEqual(["anna"], [user.username for user in revoked])
        self.assertFalse(names["user"].is_active)

    def test_a_program(self) -> None:
        self.run_example("auth", "requests.Session()")
        opened = last_opened[-1]
        self.assertEqual("wss://example.com/notes/", opened.url)
        self.assertEqual({"Cookie": "sessionid=abc"}, opened.options["additional_headers"])

    def test_tokens(self) -> None:
        from django.core.exceptions import PermissionDenied

        accept = self.run_example("auth", "ApiToken")["accept"]
        accept(visitor(None, headers={"Authorization": "Token abc"}))
        for headers in ({"Authorization": "Token xyz"}, {}):
            with self.assertRaises(PermissionDenied):
                accept(visitor(None, headers=headers))


class PublishTests(GuideTestCase):
    """publish.md"""

    def test_a_signal_receiver(self) -> None:
        from django.db.models.signals import post_save

        order = self.run_example("publish", "def order_saved")["Order"]
        instance = SimpleNamespace(pk=5, shop_id=3, state="paid")
        with capture_publications() as published:
            post_save.send(sender=order, instance=instance, created=True)
        self.assertEqual([("orders/3", '{"id":5,"state":"paid"}')], published)

    def test_an_update_without_a_signal(self) -> None:
        names = self.run_example("publish", "def close_orders")
        order = SimpleNamespace(state="open")
        with capture_publications() as published:
            names["close_orders"](SimpleNamespace(pk=3, orders=Records(order)))
        self.assertEqual("closed", order.state)
        self.assertEqual([("orders/3", '{"state":"closed"}')], published)

    def test_a_task(self) -> None:
        names = self.run_example("publish", "def send_report")
        with capture_publications() as published:
            names["send_report"](7)
        self.assertEqual([("reports/7", '{"ready":"/reports/7/"}')], published)

    def test_a_process_of_its_own(self) -> None:
        class Stop(Exception):
            pass

        def stop(seconds: float) -> None:
            raise Stop

        names = self.run_example("publish", "class Command")
        names["time"] = SimpleNamespace(sleep=stop)
        with capture_publications() as published, self.assertRaises(Stop):
            names["Command"]().handle()
        self.assertEqual([("temperature", "21.5")], published)

    def test_the_settings_can_be_used(self) -> None:
        names = self.run_example("publish", "C10K = {")
        with override_settings(C10K=names["C10K"]):
            conf.load()


class StateTests(GuideTestCase):
    """state.md"""

    @asynchronous
    async def test_a_small_state(self) -> None:
        names = self.run_example("state", "def goal")
        kept = self.run_example("state", '"score/*"')["C10K"]
        self.serve((path("<int:pk>/", names["score"]),))
        with override_settings(C10K=kept):
            names["goal"](SimpleNamespace(pk=7, home=1, guest=0))
            async with connect("/7/", subprotocols=["c10k.v1"]) as client:
                await client.receive_json()  # subscribed
                message = (await client.receive_json())["message"]
                self.assertEqual('{"home":1,"guest":0}', message)

    @asynchronous
    async def test_a_state_of_the_database(self) -> None:
        names = self.run_example("state", "def board(")
        self.serve((path("<int:pk>/", names["board"]),))
        async with connect("/5/") as client:
            self.assertEqual({"board": 5, "cards": []}, await client.receive_json())
            cluster.publish("board/5", json={"card": 5, "column": "done"})
            self.assertEqual({"card": 5, "column": "done"}, await client.receive_json())

    @asynchronous
    async def test_a_slow_client(self) -> None:
        names = self.run_example("state", "def ticker")
        self.serve((path("<symbol>/", names["ticker"]),))
        with override_settings(C10K={"SEND_QUEUE_HIGH_WATER": 10_000, "SEND_QUEUE_LOW_WATER": 100}):
            async with connect("/acme/") as client:
                cluster.publish("price/acme", "first")
                self.assertEqual("first", await client.receive())
                client.stop_reading()
                for _ in range(50):
                    cluster.publish("price/acme", "x" * 1000)
                names["prices"]["acme"] = "newest"
                client.start_reading()
                received = ""
                while received != "newest":
                    received = await client.receive()


class DeployTests(GuideTestCase):
    def test_the_settings_can_be_used(self) -> None:
        names = self.run_example("deploy", "C10K = {")
        given = {name: value for name, value in names.items() if name.isupper()}
        with override_settings(**given):
            self.assertEqual(4, conf.load()["NODES"])


class ChannelsTests(GuideTestCase):
    @override_settings(
        CHANNEL_LAYERS={"default": {"BACKEND": "cluster.channels.ClusterChannelLayer"}}
    )
    @asynchronous
    async def test_a_consumer_before(self) -> None:
        """It runs as it is."""
        page = "docs/how-to/migrate-from-channels.md"
        (text,) = [text for text in examples(page) if text.startswith("# before")]
        names = {
            **project(),
            "AsyncJsonWebsocketConsumer": AsyncJsonWebsocketConsumer,
            "database_sync_to_async": database_sync_to_async,
            "Membership": Records(SimpleNamespace(room="lobby", user="anna")),
        }
        self.run_text(text, names)
        consumers = URLRouter([path("ws/<slug:room>/", names["ChatConsumer"].as_asgi())])

        async def application(scope: Any, receive: Any, send: Any) -> None:
            scope["user"] = User("anna")
            await consumers(scope, receive, send)

        self.serve((path("ws/", asgi(application)),))
        async with connect("/ws/lobby/") as one, connect("/ws/lobby/") as other:
            await one.send_json({"text": "hello"})
            for client in (one, other):
                self.assertEqual({"name": "anna", "text": "hello"}, await client.receive_json())
        with self.assertRaises(Refused):
            async with connect("/ws/cellar/"):
                pass

    @asynchronous
    async def test_a_consumer_after(self) -> None:
        names = self.run_example("migrate-from-channels", "# after")
        self.serve((path("<slug:room>/", names["chat"]),))
        async with connect("/lobby/") as client:
            await client.send_json({"text": "hello"})
            self.assertEqual({"name": "", "text": "hello"}, await client.receive_json())
        with self.assertRaises(Refused) as caught:
            async with connect("/cellar/"):
                pass
        self.assertEqual(403, caught.exception.status)

    @asynchronous
    async def test_a_topic_in_a_handler(self) -> None:
        names = self.run_example("migrate-from-channels", "def prices")
        self.serve((path("prices/", names["prices"]),))
        async with connect("/prices/") as client:
            cluster.publish("prices", "4711")
            self.assertEqual({"value": 4711, "for": ""}, await client.receive_json())


class SocketIOTests(GuideTestCase):
    """socketio.md, migrate-from-socketio.md"""

    def setUp(self) -> None:
        super().setUp()
        load_database()
        self.patch(topics, "_listeners", [])

    def serve_namespace(self, namespace: Any) -> None:
        self.serve((path("socket.io/", SocketIO(namespace)),))

    @asynchronous
    async def test_the_chat(self) -> None:
        from django.contrib.auth.models import User

        names = self.run_example("socketio", "# chat/namespaces.py")
        self.serve_namespace(names["Chat"])
        user, _ = await User.objects.aget_or_create(username="anna")
        await self.run_example("socketio", "def say_hello")["say_hello"](user)
        with self.assertRaises(ConnectionRefused) as caught:
            async with connect_socketio("/socket.io/"):
                pass
        self.assertEqual("log in first", caught.exception.message)

    @asynchronous
    async def test_a_check(self) -> None:
        self.serve_namespace(self.run_example("socketio", "def is_member")["Members"])
        with self.assertRaises(ConnectionRefused) as caught:
            async with connect_socketio("/socket.io/", auth={"room": "lobby"}):
                pass
        self.assertEqual({"room": "lobby"}, caught.exception.data)

    @asynchronous
    async def test_a_question(self) -> None:
        self.serve_namespace(self.run_example("socketio", "class Quiz")["Quiz"])
        async with connect_socketio("/socket.io/") as client:
            client.answer("question", lambda text: "42")
            self.assertIs(True, await client.call("begin"))

    @asynchronous
    async def test_an_emit_of_a_model(self) -> None:
        class Shop(Namespace):
            async def on_connect(self, socket: Socket) -> None:
                await socket.enter_room("shop-3")

        names = self.run_example("socketio", "def order_paid")
        self.serve_namespace(Shop)
        async with connect_socketio("/socket.io/") as client:
            names["order_paid"](SimpleNamespace(pk=5, shop_id=3))
            self.assertEqual(["paid", {"order": 5}], await client.receive())

    @asynchronous
    async def test_a_room_of_both_kinds_of_clients(self) -> None:
        self.serve_namespace(self.run_example("socketio", "class Shared")["Shared"])
        async with connect_socketio("/socket.io/") as one, connect_socketio("/socket.io/") as two:
            await one.emit("say", "hello")
            for client in (one, two):
                said = ["said", {"from": "AnonymousUser", "text": "hello"}]
                self.assertEqual(said, await client.receive())

    @asynchronous
    async def test_a_server_after_node(self) -> None:
        from django.contrib.auth.models import User

        self.serve_namespace(self.run_example("migrate-from-socketio", '"not a member"')["Chat"])
        user, _ = await User.objects.aget_or_create(username="anna")
        async with (
            connect_socketio("/socket.io/", user=user) as one,
            connect_socketio("/socket.io/", user=user) as two,
        ):
            self.assertEqual("ok", await one.call("say", "hello"))
            self.assertEqual(["said", "hello"], await two.receive())
            await one.nothing()

    @asynchronous
    async def test_a_server_after_python_socketio(self) -> None:
        names = self.run_example("migrate-from-socketio", "ChatNamespace(Namespace)")
        self.serve(tuple(names["urlpatterns"]))
        anna, alan = {"name": "anna"}, {"name": "alan"}
        async with (
            connect_socketio("/socket.io/", "/chat", auth=anna) as one,
            connect_socketio("/socket.io/", "/chat", auth=alan) as two,
        ):
            self.assertEqual("ok", await one.call("say", "hello"))
            self.assertEqual(["said", "anna", "hello"], await two.receive())


class DjangoWebsocketRedisTests(GuideTestCase):
    def test_a_publisher_after(self) -> None:
        with capture_publications() as published:
            self.run_example("migrate-from-django-websocket-redis", "# after")
        self.assertEqual(
            [
                ("audience/notices/broadcast", "The pool is open"),
                ("audience/notices/user/anna", "The pool is open"),
            ],
            sorted(published),
        )


class TestingTests(TestCase):
    """test.md, run by Django."""

    def test_in_memory(self) -> None:
        status, output = run_tests(self, "tests.testing.project.how_to")
        self.assertEqual(0, status, output)
        self.assertRegex(output, r"Ran 1[0-9] tests")
