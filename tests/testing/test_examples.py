"""What README.md and docs/how-to show of handlers and their tests does what they say."""

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from django.test import Client, override_settings
from django.urls import path
from twisted.trial.unittest import SynchronousTestCase, TestCase

from cluster.testing import Closed, Refused, asynchronous, connect
from tests.django.site import load_site
from tests.testing.test_django import run_tests

ROOT = Path(__file__).resolve().parents[2]


def examples(page: str) -> list[str]:
    """The Python in a page of the documentation."""
    return re.findall(
        r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE
    )


class ExampleTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()

    def serve(self, urls: Any) -> None:
        settings = override_settings(ROOT_URLCONF=urls, LOGIN_URL="/login/")
        settings.enable()
        self.addCleanup(settings.disable)


class ReadmeTests(ExampleTestCase):
    """``mysite``, of the modules that the README has."""

    def setUp(self) -> None:
        super().setUp()
        folder = Path(tempfile.mkdtemp(prefix="c10k-test-"))
        self.addCleanup(shutil.rmtree, folder)
        (folder / "mysite").mkdir()
        for text in examples("README.md"):
            match = re.match(r"# (mysite/\w+\.py)", text)
            assert match is not None, text
            (folder / match[1]).write_text(text)
        self.patch(sys, "path", [str(folder), *sys.path])
        self.addCleanup(self.forget)
        self.serve("mysite.urls")

    def forget(self) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "mysite"]:
            del sys.modules[name]

    @asynchronous
    async def test_what_a_view_publishes_is_heard(self) -> None:
        async with connect("/ws/prices/acme/") as client, connect("/ws/prices/other/") as other:
            response = Client(SERVER_NAME="localhost").post(
                "/quote/", {"symbol": "acme", "price": "47.11"}
            )
            self.assertEqual(200, response.status_code)
            self.assertEqual("47.11", await client.receive())
            await client.send("of a client that is nobody")
            await other.nothing()


class UsersTests(ExampleTestCase):
    """docs/how-to/auth.md, seen by somebody who is not logged in."""

    def example(self, number: int) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "example"}
        imports = "from cluster import feed\nfrom django.core.exceptions import PermissionDenied\n"
        exec(imports + examples("docs/how-to/auth.md")[number], names)
        return names

    @asynchronous
    async def test_who_is_it(self) -> None:
        self.serve((path("notes/", self.example(0)["notes"]),))
        async with connect("/notes/") as client:
            self.assertEqual(Closed(4401, "log in first"), await client.closed())

    @asynchronous
    async def test_who_gets_in(self) -> None:
        decorated = self.example(1)
        self.serve(
            (
                path("notes/", decorated["notes"]),
                path("orders/", decorated["orders"]),
                path("mine/", self.example(3)["mine"]),
            )
        )
        for url in ("/notes/", "/orders/", "/mine/"):
            with self.assertRaises(Refused) as caught:
                async with connect(url, subprotocols=["c10k.v1"]):
                    pass
            self.assertEqual(403, caught.exception.status)


class Memberships:
    """What the guide asks of a model."""

    def __init__(self, *rooms: str) -> None:
        self.rooms = rooms
        self.objects = self

    def filter(self, room: str, user: object) -> "Memberships":
        return Memberships(*(each for each in self.rooms if each == room))

    def exists(self) -> bool:
        return bool(self.rooms)


class ChannelsTests(ExampleTestCase):
    @asynchronous
    async def test_a_consumer_after(self) -> None:
        names: dict[str, Any] = {"__name__": "example", "Membership": Memberships("lobby")}
        exec(examples("docs/how-to/migrate-from-channels.md")[1], names)
        self.serve((path("<slug:room>/", names["chat"]),))
        async with connect("/lobby/") as client:
            await client.send_json({"text": "hello"})
            self.assertEqual({"name": "", "text": "hello"}, await client.receive_json())
        with self.assertRaises(Refused) as caught:
            async with connect("/cellar/"):
                pass
        self.assertEqual(403, caught.exception.status)


class SocketIOTests(ExampleTestCase):
    @asynchronous
    async def test_a_server_after(self) -> None:
        names: dict[str, Any] = {"__name__": "example"}
        exec(examples("docs/how-to/migrate-from-socketio.md")[1], names)
        self.serve((path("<slug:room>/", names["chat"]),))
        async with connect("/lobby/") as one, connect("/lobby/") as other:
            await one.send_json({"event": "say", "id": 1, "text": "hello"})
            self.assertEqual({"event": "ok", "id": 1}, await one.receive_json())
            self.assertEqual({"event": "said", "text": "hello"}, await other.receive_json())
            await other.send_json(["nonsense"])
            self.assertEqual(Closed(1008, "no such event"), await other.closed())


class TestingTests(TestCase):
    """docs/how-to/test.md, run by Django."""

    def test_in_memory(self) -> None:
        status, output = run_tests(self, "tests.testing.project.how_to")
        self.assertEqual(0, status, output)
        self.assertRegex(output, r"Ran 1[0-9] tests")
