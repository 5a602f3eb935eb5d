"""manage.py runserver and publish, in a small project."""

import os
import re
import shutil
import signal
import sys
import tempfile
import uuid
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.e2e.asking import get
from tests.e2e.processes import (
    TEST_TIMEOUT_S,
    Program,
    kill_if_there,
    marked_processes,
    process_end,
    reactor,
    start_program,
)
from tests.e2e.wsclient import Client, Closed, connect

MANAGE = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""

SETTINGS = """
SECRET_KEY = "for tests"
DEBUG = True
ROOT_URLCONF = "site_urls"
INSTALLED_APPS = ["cluster.django", "django.contrib.staticfiles", "site_app.SiteConfig"]
STATIC_URL = "/static/"
STATICFILES_DIRS = ["static"]
USE_TZ = True
C10K = {"MAX_MESSAGE_SIZE": 100, "TOPICS": {"kept": {"history": 2}}}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"all": {"class": "logging.StreamHandler"}},
    "loggers": {"django.utils.autoreload": {"level": "DEBUG", "handlers": ["all"]}},
}
"""

# The module is imported by the app, not only by the URLconf. An error in the URLconf can end
# Django's autoreloader itself: one of its threads iterates over sys.modules while another thread
# removes the failed import from it.
APP = """
from django.apps import AppConfig

class SiteConfig(AppConfig):
    name = "site_app"

    def ready(self):
        import site_words
"""

URLS = """
from django.http import HttpResponse
from django.urls import path
from cluster import publish, websocket
import site_words

def page(request):
    return HttpResponse(site_words.WORDS)

def tell(request):
    receipt = publish("live", "from a view")
    return HttpResponse(f"{receipt.nodes} {receipt.connections_here}")

@websocket
async def live(ws):
    await ws.subscribe("live")
    await ws.subscribe("kept")
    await ws.send("subscribed")
    async for message in ws:
        await ws.send(message)

@websocket
async def broken(ws):
    raise ZeroDivisionError("of the handler")

urlpatterns = [
    path("", page), path("tell/", tell), path("live/", live), path("broken/", broken),
]
"""


class RunserverTests(TestCase):
    timeout = TEST_TIMEOUT_S

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="c10k-"))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "manage.py").write_text(MANAGE)
        (self.folder / "site_settings.py").write_text(SETTINGS)
        (self.folder / "site_app.py").write_text(APP)
        (self.folder / "site_urls.py").write_text(URLS)
        (self.folder / "site_words.py").write_text("WORDS = 'first'\n")
        (self.folder / "static").mkdir()
        (self.folder / "static" / "style.css").write_text("body {}\n")
        self.mark = ""
        self.url = ""

    def manage(self, *arguments: str, runtime: str = "") -> Program:
        program = Program()
        self.mark = uuid.uuid4().hex
        command = [sys.executable, "manage.py", *arguments]
        extra = {"XDG_RUNTIME_DIR": runtime} if runtime else {}
        start_program(self, program, command, self.mark, str(self.folder), extra)

        def stop() -> "Deferred[None]":
            # Not SIGKILL, which would leave the autoreloader's child running.
            program.kill()
            return program.end()

        self.addCleanup(stop)
        return program

    def watched(self, program: Program) -> "Deferred[re.Match[str]]":
        """Fires when Django has first seen the module that `change` edits: it ignores changes
        before that."""
        return program.line(r"site_words\.py first seen")

    def change(self, text: str) -> None:
        """Edit a module of the site atomically, so that no reloader reads an incomplete file."""
        edited = self.folder / "edited"
        edited.write_text(text)
        edited.replace(self.folder / "site_words.py")

    def started(self, program: Program) -> "Deferred[None]":
        """Fires when the server starts (again)."""

        def take(match: re.Match[str]) -> None:
            self.url = match[1]

        banner = r"Starting development server at (http://127\.0\.0\.1:\d+/)"
        return program.line(banner).addCallback(take)

    async def connect(self, path: str = "live/") -> Client:
        return await connect(reactor, f"ws{self.url[4:]}{path}")

    async def test_a_change_of_the_code_restarts_the_server(self) -> None:
        server = self.manage("runserver", "127.0.0.1:0")
        watched = self.watched(server)
        await self.started(server)
        request_line = server.line(r'^\[\d\d/\w{3}/\d{4} [\d:]{8}\] "GET / HTTP/1.1" 200 5$')
        self.assertEqual(await get(self.url), (200, "first"))
        await request_line
        self.assertEqual(await get(self.url + "static/style.css"), (200, "body {}\n"))
        opened = server.line('"WebSocket /live/" opened')
        client = await self.connect()
        await opened
        self.assertEqual(await client.next_message(), "subscribed")
        client.send("hello")
        self.assertEqual(await client.next_message(), "hello")
        self.assertEqual(await get(self.url + "tell/"), (200, "1 1"))
        self.assertEqual(await client.next_message(), "from a view")

        await watched
        changed = server.line("site_words.py changed, reloading.")
        again = self.started(server)
        self.change("WORDS = 'second'\n")
        await changed
        self.assertEqual((await client.closed).code, 1001)
        await again
        self.assertEqual(await get(self.url), (200, "second"))
        client = await self.connect()
        self.assertEqual(await client.next_message(), "subscribed")

        # Ctrl-C in a terminal signals both processes.
        processes = marked_processes(self.mark)
        self.assertEqual(len(processes), 2)
        for pid in processes:
            kill_if_there(pid, signal.SIGINT)  # the first process may have ended the other one
        await server.end()
        self.assertEqual(server.status, 0)
        for pid in processes:
            await process_end(pid)
        self.assertNotIn("Traceback", server.text)

    async def test_an_error_in_the_code_waits_for_its_correction(self) -> None:
        server = self.manage("runserver", "127.0.0.1:0")
        watched = self.watched(server)
        await self.started(server)
        await watched
        error, watched = server.line("SyntaxError"), self.watched(server)
        self.change("WORDS = \n")
        await error
        await watched
        again = self.started(server)
        self.change("WORDS = 'corrected'\n")
        await again
        self.assertEqual(await get(self.url), (200, "corrected"))

    async def test_without_autoreload_there_is_one_process(self) -> None:
        server = self.manage("runserver", "--noreload", "--nothreading", "--nostatic", "0:0")
        match = await server.line(r"Starting development server at http://0\.0\.0\.0:(\d+)/")
        self.url = f"http://127.0.0.1:{match[1]}/"
        self.assertEqual((await get(self.url + "static/style.css"))[0], 404)
        refused = server.line("handshake refused, 404 no WebSocket is served at this path")
        with self.assertRaises(Closed):
            await self.connect("nothing/")
        await refused
        failed = server.line("ZeroDivisionError: of the handler")
        broken = await self.connect("broken/")
        self.assertEqual((await broken.closed).code, 1011)
        await failed
        client = await self.connect()
        self.assertEqual(await client.next_message(), "subscribed")
        # The settings that are options of twistd c10k are used here, too.
        client.send("x" * 101)
        self.assertEqual((await client.closed).code, 1009)
        client = await self.connect()
        await client.next_message()
        server.kill(signal.SIGINT)
        self.assertEqual((await client.closed).code, 1001)
        await server.end()
        self.assertEqual(server.status, 0)
        self.assertEqual(os.listdir(server.runtime / f"c10k-{os.getuid()}"), [])

    async def test_a_busy_port_is_reported(self) -> None:
        first = self.manage("runserver", "--noreload", "127.0.0.1:0")
        await self.started(first)
        port = self.url.rstrip("/").rpartition(":")[2]
        for options in (["--noreload"], []):
            second = self.manage("runserver", *options, f"127.0.0.1:{port}")
            await second.end()
            self.assertEqual(second.status, 1)
            self.assertEqual(second.errors[-1], "Error: That port is already in use.")
        self.assertEqual(await get(self.url), (200, "first"))

    async def test_another_process_may_publish(self) -> None:
        nowhere = self.manage("publish", "live", "hello")
        await nowhere.end()
        self.assertEqual(nowhere.status, 1)
        self.assertIn("no cluster of this project is running", nowhere.errors[-1])
        server = self.manage("runserver", "--noreload", "127.0.0.1:0")
        await self.started(server)
        client = await self.connect()
        await client.next_message()
        outside = self.manage("publish", "live", "hello", runtime=str(server.runtime))
        self.assertEqual(await client.next_message(), "hello")
        await outside.end()
        self.assertEqual(outside.status, 0, outside.text)
        self.assertEqual(outside.lines, ["Delivered to 1 subscriber on 1 node"])
