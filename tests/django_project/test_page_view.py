"""The Life page, and the headers of every response of the site."""

import logging
import re

from tests.django.site import load_site

load_site()

from django.test import Client  # noqa: E402 - Django's modules want its settings first
from twisted.trial.unittest import TestCase  # noqa: E402


def body(response: object) -> bytes:
    """Return the whole body; static files are streamed."""
    if getattr(response, "streaming", False):
        return b"".join(response.streaming_content)  # type: ignore[attr-defined]
    return response.content  # type: ignore[attr-defined, no-any-return]


class PageTests(TestCase):
    def setUp(self) -> None:
        self.client = Client(headers={"Host": "localhost:8000"})

    def test_the_page_has_the_board(self) -> None:
        response = self.client.get("/")
        self.assertEqual(response.status_code, 200)
        self.assertIn(b'<canvas id="board"', response.content)
        self.assertIn(b"Game of Life", response.content)

    def test_post_is_refused(self) -> None:
        self.assertEqual(self.client.head("/").status_code, 200)
        self.assertEqual(self.client.post("/").status_code, 405)

    def test_the_policy_allows_the_pages_content(self) -> None:
        response = self.client.get("/")
        policy = response["Content-Security-Policy"]
        self.assertIn("script-src 'self';", policy)
        self.assertIn("connect-src 'self' ws://localhost:8000 wss://localhost:8000", policy)
        self.assertNotIn("unsafe", policy)
        page = response.content.decode()
        self.assertNotRegex(page, r"<script(?![^>]* src=)")
        self.assertNotRegex(page, r"<style|\sstyle=|\son[a-z]+=")

    def test_all_files_of_the_page_are_served(self) -> None:
        page = self.client.get("/").content.decode()
        addresses = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page))
        self.assertGreaterEqual(len(addresses), 4)
        script = body(self.client.get("/static/gameoflife/main.js")).decode()
        modules = re.findall(r'from "\./([a-z]+\.js)"', script)
        self.assertGreaterEqual(len(modules), 5)
        addresses |= {f"/static/gameoflife/{module}" for module in modules}
        for address in addresses:
            response = self.client.get(address)
            self.assertEqual(response.status_code, 200, address)
            self.assertGreater(len(body(response)), 100)

    def test_modules_are_served_as_javascript(self) -> None:
        response = self.client.get("/static/gameoflife/main.js")
        response.close()
        self.assertIn("javascript", response["Content-Type"])
        self.assertEqual(response["X-Content-Type-Options"], "nosniff")

    def test_an_unchanged_static_file_is_not_sent_again(self) -> None:
        first = self.client.get("/static/gameoflife/life.css")
        first.close()
        again = self.client.get(
            "/static/gameoflife/life.css", headers={"If-None-Match": first["ETag"]}
        )
        self.assertEqual(again.status_code, 304)

    def test_static_paths_cannot_leave_the_static_folders(self) -> None:
        for path in ("../settings.py", "..%2f..%2fsettings.py", "gameoflife/", "nothing.js"):
            self.assertEqual(self.client.get(f"/static/{path}").status_code, 404, path)


class ErrorPageTests(TestCase):
    def setUp(self) -> None:
        self.client = Client(SERVER_NAME="localhost", raise_request_exception=False)

    def test_an_unknown_path_has_the_404_page(self) -> None:
        response = self.client.get("/nothing/here")
        self.assertEqual(response.status_code, 404)
        self.assertIn(b"There is no page at this address", response.content)
        self.assertIn("Content-Security-Policy", response)

    def test_an_error_has_the_500_page(self) -> None:
        from django_project.gameoflife import views

        def fail(*args: object) -> None:
            raise RuntimeError("as intended")

        self.patch(views, "render", fail)
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)
        response = self.client.get("/")
        self.assertEqual(response.status_code, 500)
        self.assertIn(b"That went wrong", response.content)
        self.assertNotIn(b"as intended", response.content)

    def test_an_unknown_host_is_refused(self) -> None:
        response = self.client.get("/", headers={"Host": "evil.example"})
        self.assertEqual(response.status_code, 400)
        self.assertNotIn("evil.example", response["Content-Security-Policy"])
