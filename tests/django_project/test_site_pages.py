"""What all pages of the site have in common: their policy holds, what they refer to is there."""

import re
from urllib.parse import urljoin

from tests.django.site import load_database, load_site
from tests.once import once

load_site()

from django.contrib.auth.models import User  # noqa: E402 - models want settings first
from django.test import Client  # noqa: E402
from twisted.trial.unittest import SynchronousTestCase  # noqa: E402

PAGES = {
    "/": 200,
    "/demos/": 200,
    "/test/": 200,
    "/test/wsgi/": 200,
    "/chat/": 200,
    "/chat/a-room/": 200,
    "/live/": 200,
    "/audiences/": 200,
    "/login/": 200,
    "/nothing/here": 404,
}
"""Path -> status."""


def body(response: object) -> bytes:
    """The whole body; static files are streamed."""
    if getattr(response, "streaming", False):
        return b"".join(response.streaming_content)  # type: ignore[attr-defined]
    return response.content  # type: ignore[attr-defined, no-any-return]


@once
class PagesTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()
        self.client = Client(SERVER_NAME="localhost")

    def page(self, path: str) -> str:
        response = self.client.get(path)
        self.assertEqual(PAGES[path], response.status_code, path)
        return response.content.decode()

    def test_nothing_is_inline(self) -> None:
        """Which the content security policy forbids."""
        for path in PAGES:
            page = self.page(path)
            self.assertNotRegex(page, r"<script(?![^>]* src=)", path)
            self.assertNotRegex(page, r"<style|\sstyle=|\son[a-z]+=", path)

    def test_styles_scripts_and_their_modules_are_served(self) -> None:
        addresses: list[str] = []
        for path in PAGES:
            addresses += re.findall(r'(?:src|href)="(/static/[^"]+)"', self.page(path))
        seen = set()
        while addresses:
            address = addresses.pop()
            if address in seen:
                continue
            seen.add(address)
            response = self.client.get(address)
            content = body(response)
            self.assertEqual(200, response.status_code, address)
            if address.endswith(("js", "mjs")):
                self.assertIn("javascript", response["Content-Type"], address)
                imported = re.findall(r'(?:from|import) "(\.[^"]+)"', content.decode())
                addresses += [urljoin(address, name) for name in imported]
        self.assertIn("/static/c10k/c10k.js", seen)
        self.assertIn("/static/chat/transcript.js", seen)

    def test_links_lead_somewhere(self) -> None:
        for path in PAGES:
            for link in re.findall(r'<a [^>]*href="([^"]+)"', self.page(path)):
                self.assertEqual(200, self.client.get(link).status_code, f"{path}: {link}")

    def test_the_header_says_who_one_is(self) -> None:
        user, _ = User.objects.get_or_create(username="header")
        self.assertIn('href="/login/?next=/live/"', self.page("/live/"))
        self.client.force_login(user)
        page = self.page("/live/")
        self.assertIn('<span class="who">header</span>', page)
        self.assertNotIn("/login/", page)

    def test_pages_without_a_session_cookie_set_none(self) -> None:
        """Except where one needs a name, or is to be found again."""
        for path in set(PAGES) - {"/chat/", "/chat/a-room/", "/audiences/"}:
            response = Client(SERVER_NAME="localhost").get(path)
            self.assertNotIn("sessionid", response.cookies, path)


@once
class LoginTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()
        self.client = Client(SERVER_NAME="localhost")
        self.user, _ = User.objects.get_or_create(username="someone")
        self.user.set_password("secret")
        self.user.save()

    def test_in_and_out(self) -> None:
        given = {"username": "someone", "password": "secret", "next": "/chat/"}
        response = self.client.post("/login/", given)
        self.assertEqual((302, "/chat/"), (response.status_code, response["Location"]))
        self.assertEqual("/demos/", self.client.get("/login/")["Location"])
        self.assertEqual("/demos/", self.client.post("/logout/")["Location"])
        self.assertIn("Log in", self.client.get("/demos/").content.decode())

    def test_wrong(self) -> None:
        for given in ({"username": "someone", "password": "wrong"}, {"username": "nobody"}, {}):
            response = self.client.post("/login/", given)
            self.assertEqual(200, response.status_code)
            self.assertIn("There is no account with this name", response.content.decode())

    def test_the_way_out_of_the_site_is_not_taken(self) -> None:
        given = {"username": "someone", "password": "secret", "next": "https://evil.example/"}
        self.assertEqual("/demos/", self.client.post("/login/", given)["Location"])
