"""All pages of the site: the content security policy, and the targets of links and files."""

import re
from pathlib import Path
from urllib.parse import urljoin

from tests.django.site import load_database, load_site
from tests.once import once

load_site()

from django.contrib.auth.models import AnonymousUser, User  # noqa: E402 - models want settings first
from django.core.exceptions import PermissionDenied, SuspiciousOperation  # noqa: E402
from django.test import Client, RequestFactory  # noqa: E402
from django.views.defaults import bad_request, permission_denied  # noqa: E402
from twisted.trial.unittest import SynchronousTestCase  # noqa: E402

from django_project.views import CODE, COSTS  # noqa: E402

ROOT = Path(__file__).parent.parent.parent

PAGES = {
    "/": 200,
    "/demos/": 200,
    "/test/": 200,
    "/test/wsgi/": 200,
    "/chat/": 200,
    "/chat/a-room/": 200,
    "/socketio/": 200,
    "/socketio/a-room/": 200,
    "/live/": 200,
    "/audiences/": 200,
    "/cluster/": 200,
    "/consumers/": 200,
    "/login/": 200,
    "/nothing/here": 404,
}
"""Path -> status."""

NAMED = {"/chat/", "/chat/a-room/", "/socketio/", "/socketio/a-room/"}
"""Pages that give a guest a name."""


def body(response: object) -> bytes:
    """Return the whole body; static files are streamed."""
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

    def test_pages_have_no_inline_code(self) -> None:
        """The content security policy forbids it."""
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
        plain = {re.sub(r"\.[0-9a-f]{12}\.", ".", address) for address in seen}
        self.assertIn("/static/c10k/c10k.js", plain)
        self.assertIn("/static/chat/transcript.js", plain)

    def test_targets_of_links_exist(self) -> None:
        for path in PAGES:
            for link in re.findall(r'<a [^>]*href="([^"]+)"', self.page(path)):
                self.assertEqual(200, self.client.get(link).status_code, f"{path}: {link}")

    def test_the_header_shows_the_user(self) -> None:
        user, _ = User.objects.get_or_create(username="header")
        self.assertIn('href="/login/?next=/live/"', self.page("/live/"))
        self.client.force_login(user)
        page = self.page("/live/")
        self.assertIn('<span class="who">header</span>', page)
        self.assertNotIn("/login/", page)

    def test_pages_that_need_no_session_set_no_cookie(self) -> None:
        """Only pages that store a name, or that identify the session, set one."""
        for path in set(PAGES) - {*NAMED, "/audiences/"}:
            response = Client(SERVER_NAME="localhost").get(path)
            self.assertNotIn("sessionid", response.cookies, path)


@once
class DemosTests(SynchronousTestCase):
    def test_costs_are_those_of_the_documentation(self) -> None:
        page = (ROOT / "docs" / "benchmarks.md").read_text()
        for cost in COSTS:
            row = re.search(rf"^\| {re.escape(cost.row)} +\| +([\d.]+) \|", page, re.MULTILINE)
            assert row is not None, cost.row
            self.assertEqual(row[1], cost.microseconds)

    def test_the_code_is_python(self) -> None:
        compile(CODE, "demos", "exec")


@once
class RefusalTests(SynchronousTestCase):
    """Pages that say why a request was refused, in the site's design."""

    def setUp(self) -> None:
        load_database()

    def test_a_form_without_a_valid_token(self) -> None:
        client = Client(SERVER_NAME="localhost", enforce_csrf_checks=True)
        response = client.post("/live/", {"message": "hello"})
        page = response.content.decode()
        self.assertEqual(403, response.status_code)
        self.assertIn("This form is out of date", page)
        self.assertIn('href="/live/"', page)
        self.assertRegex(page, r"base\.([0-9a-f]{12}\.)?css")

    def test_a_permission_that_is_missing(self) -> None:
        request = RequestFactory().get("/")
        request.user = AnonymousUser()
        for reason in ("", "only members may enter"):
            response = permission_denied(request, PermissionDenied(reason))
            page = response.content.decode()
            self.assertEqual(403, response.status_code)
            self.assertIn(reason or "You do not have the permission", page)
            self.assertIn("Log in", page)

    def test_a_bad_request(self) -> None:
        response = bad_request(RequestFactory().get("/"), SuspiciousOperation("secret detail"))
        page = response.content.decode()
        self.assertEqual(400, response.status_code)
        self.assertIn("did not understand", page)
        self.assertNotIn("secret detail", page)


@once
class LoginTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_database()
        self.client = Client(SERVER_NAME="localhost")
        self.user, _ = User.objects.get_or_create(username="someone")
        self.user.set_password("secret")
        self.user.save()

    def test_a_user_can_log_in_and_out(self) -> None:
        given = {"username": "someone", "password": "secret", "next": "/chat/"}
        response = self.client.post("/login/", given)
        self.assertEqual((302, "/chat/"), (response.status_code, response["Location"]))
        self.assertEqual("/demos/", self.client.get("/login/")["Location"])
        self.assertEqual("/demos/", self.client.post("/logout/")["Location"])
        self.assertIn("Log in", self.client.get("/demos/").content.decode())

    def test_wrong_names_and_passwords_are_refused(self) -> None:
        for given in ({"username": "someone", "password": "wrong"}, {"username": "nobody"}, {}):
            response = self.client.post("/login/", given)
            self.assertEqual(200, response.status_code)
            self.assertIn("There is no account with this name", response.content.decode())

    def test_log_in_does_not_redirect_to_other_sites(self) -> None:
        given = {"username": "someone", "password": "secret", "next": "https://evil.example/"}
        self.assertEqual("/demos/", self.client.post("/login/", given)["Location"])
