"""The demo site in a real browser, on two nodes: chat, live feed, audiences, accounts, design."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.e2e.asking import statistics_until
from tests.e2e.browser import DESKTOP, PHONE, Browser, start_browser
from tests.e2e.processes import ROOT, TEST_TIMEOUT_S, Cluster, environment, start_cluster
from tests.once import once

PASSWORD = "correct horse"

PAGES = {
    "/demos/": "Demos",
    "/": "Life",
    "/test/": "Echo",
    "/test/wsgi/": "Echo",
    "/chat/": "Chat",
    "/chat/a-room/": "Chat",
    "/live/": "Live",
    "/audiences/": "Audiences",
    "/cluster/": "Cluster",
    "/login/": None,
    "/nothing/here": None,
}
"""Path -> the link that the header marks as the current page."""

# The lowest contrast between a text and its background (WCAG 2.2).
_CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const paint = (...colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((byte) => byte / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const text = [...node.childNodes].some((each) => each.nodeType === 3 && each.data.trim());
    if (!text || node.closest(":disabled") || !node.checkVisibility()) continue;
    const behind = [];
    for (let each = node; each; each = each.parentElement) {
      behind.unshift(getComputedStyle(each).backgroundColor);
    }
    const ground = light(paint("Canvas", ...behind));
    const ink = light(paint("Canvas", ...behind, getComputedStyle(node).color));
    const contrast = (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
    found.push([contrast, node.textContent.trim().slice(0, 40)]);
  }
  return found.sort(([one], [other]) => one - other)[0];
}"""


def opened(browser: Browser, url: str, viewport: dict[str, int] = DESKTOP, **context: Any) -> Any:
    """Open a page, and wait until its WebSocket is open."""
    page = browser.open(url, viewport, **context)
    page.wait_for_selector('#link[data-state="open"]')
    return page


def say(page: Any, text: str) -> None:
    """Send a message in the chat."""
    page.fill("#message", text)
    page.press("#message", "Enter")


def wait_for(page: Any, selector: str, text: str) -> None:
    """Wait until an element has exactly this text."""
    page.locator(selector).get_by_text(text, exact=True).first.wait_for()


def texts(page: Any, selector: str) -> list[str]:
    found: list[str] = page.locator(selector).all_inner_texts()
    return found


class SiteTestCase(TestCase):
    timeout = TEST_TIMEOUT_S

    async def prepare(self) -> tuple[Browser, Cluster]:
        browser = await start_browser(self)
        self.state = str(Path(self.mktemp()).absolute())
        cluster = await start_cluster(self, "--nodes", "2", extra={"C10K_STATE_DIR": self.state})
        return browser, cluster

    async def manage(self, cluster: Cluster, *arguments: str) -> str:
        """Run a management command in another process; returns its output."""
        extra = {"C10K_STATE_DIR": self.state, "XDG_RUNTIME_DIR": str(cluster.runtime)}

        def run() -> str:
            command = [sys.executable, "-m", "django_project", *arguments]
            environ = environment(cluster.mark, **extra)
            done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
            self.assertEqual(0, done.returncode, done.stderr)
            return done.stdout

        return await deferToThread(run)

    async def sockets(self, cluster: Cluster, count: int) -> dict[str, float]:
        """Wait until there are ``count`` WebSockets; returns their number by node."""
        return await statistics_until(
            cluster, lambda found: sum(found.values()) == count, "c10k_connections"
        )

    async def open_on_both(self, browser: Browser, cluster: Cluster, path: str) -> tuple[Any, Any]:
        """Open two pages in separate contexts, the first on node0 and the second on node1."""
        url = cluster.base_url + path
        pages: dict[str, Any] = {}
        while len(pages) < 2:  # the kernel chooses the node
            page: Any = await browser.call(opened, browser, url)
            counts = await self.sockets(cluster, len(pages) + 1)
            new = [node for node, count in counts.items() if count and node not in pages]
            if new:
                pages[new[0]] = page
            else:
                await browser.call(page.context.close)
                await self.sockets(cluster, len(pages))
        return pages["node0"], pages["node1"]

    def assert_no_troubles(self, browser: Browser) -> None:
        """Assert that no page had an error, except those of a network that the test turned off."""
        self.assertEqual([], [each for each in browser.troubles if "net::ERR_" not in each])


@once
class ChatTests(SiteTestCase):
    async def test_two_people_on_different_nodes_can_chat(self) -> None:
        browser, cluster = await self.prepare()
        ada, alan = await self.open_on_both(browser, cluster, "chat/")

        def talk() -> tuple[str, str]:
            names = [page.get_attribute("#say", "data-name") for page in (ada, alan)]
            say(ada, "<b>Hello</b> & welcome")
            wait_for(alan, ".said p", "<b>Hello</b> & welcome")
            say(alan, "Hi!")
            wait_for(ada, ".said p", "Hi!")
            self.assertEqual([names[0]], texts(alan, ".said:not(.own) .who"))
            self.assertEqual([names[1]], texts(ada, ".said:not(.own) .who"))
            for number in range(14):
                say(ada, f"message {number}")
            wait_for(alan, ".said p", "message 13")
            return names[0], names[1]

        name, other = await browser.call(talk)

        def join() -> None:
            late = opened(browser, f"{cluster.base_url}chat/", PHONE)
            wait_for(late, ".said p", "message 13")
            expected = ["Hi!", *(f"message {number}" for number in range(14))]
            self.assertEqual(expected, texts(late, ".said p"))
            wait_for(ada, ".note", f"{late.get_attribute('#say', 'data-name')} connected")
            alan.context.close()
            wait_for(late, ".note", f"{other} disconnected")
            wait_for(ada, ".note", f"{other} disconnected")
            room = opened(browser, f"{cluster.base_url}chat/a-room/")
            self.assertEqual([], texts(room, ".said"))
            ada.reload()  # the session identifies the same person
            ada.wait_for_selector('#link[data-state="open"]')
            self.assertEqual(name, ada.get_attribute("#say", "data-name"))

        await browser.call(join)
        self.assert_no_troubles(browser)

    async def test_a_page_that_was_offline_misses_no_message(self) -> None:
        """Messages that were written meanwhile are sent, even after the room has forgotten them."""
        browser, cluster = await self.prepare()
        ada, alan = await self.open_on_both(browser, cluster, "chat/")

        def meet() -> None:
            name = alan.get_attribute("#say", "data-name")
            say(ada, "before")
            wait_for(alan, ".said p", "before")
            wait_for(ada, ".own .fate", "Sent")
            alan.context.set_offline(True)
            alan.wait_for_selector('#link[data-state="waiting"]')
            say(alan, "written meanwhile")
            wait_for(alan, ".pending .fate", "Sent when the connection is back")
            for number in range(20):  # more than the room keeps
                say(ada, f"message {number}")
            wait_for(ada, ".own:last-child .fate", "Sent")
            alan.context.set_offline(False)
            wait_for(ada, ".said p", "written meanwhile")
            alan.wait_for_selector(".pending", state="detached")
            wait_for(alan, ".own .fate", "Sent")
            kept = [f"message {number}" for number in range(5, 20)]
            self.assertEqual(["before", "written meanwhile", *kept], texts(alan, ".said p"))
            self.assertEqual(1, alan.locator(".gap").count())
            self.assertEqual(1, texts(ada, ".said p").count("written meanwhile"))
            wait_for(ada, ".note", f"{name} connected")

        await browser.call(meet)
        self.assert_no_troubles(browser)

    async def test_who_is_here_and_what_is_new(self) -> None:
        browser, cluster = await self.prepare()
        ada, alan = await self.open_on_both(browser, cluster, "chat/")

        def talk() -> None:
            names = {page.get_attribute("#say", "data-name") for page in (ada, alan)}
            wait_for(ada, "#count", "2")
            ada.click("#here summary")
            self.assertEqual(names, set(ada.inner_text("#members").split(", ")))
            for number in range(40):
                say(alan, f"message {number}")
            wait_for(ada, ".said p", "message 39")
            ada.locator("#messages").evaluate("list => list.scrollTop = 0")
            say(alan, "new")
            wait_for(ada, "#newer", "1 new message")
            wait_for(ada, ".unread", "New messages")
            self.assertTrue(ada.title().startswith("(1) "))
            ada.click("#newer")
            ada.wait_for_selector("#newer", state="hidden")
            self.assertFalse(ada.title().startswith("("))
            self.assertEqual(
                {"auto"}, {p.get_attribute("dir") for p in ada.locator(".said p").all()}
            )
            alan.context.close()
            wait_for(ada, "#count", "1")

        await browser.call(talk)
        self.assert_no_troubles(browser)

    async def test_a_page_shows_that_its_user_has_logged_out(self) -> None:
        browser, cluster = await self.prepare()
        await self.manage(cluster, "createdemousers", "--password", PASSWORD)

        def log_out() -> None:
            page = browser.open(f"{cluster.base_url}login/?next=/chat/")
            page.fill("#username", "ada")
            page.fill("#password", PASSWORD)
            page.press("#password", "Enter")
            page.wait_for_selector('#link[data-state="open"]')
            other = page.context.new_page()
            other.goto(f"{cluster.base_url}demos/")
            other.click("text=Log out")
            page.wait_for_selector('#link[data-state="refused"]')
            wait_for(
                page, ".note", "You have been logged out. Log in and reload this page to continue."
            )
            self.assertTrue(page.is_disabled("#message"))

        await browser.call(log_out)
        self.assert_no_troubles(browser)


@once
class LiveTests(SiteTestCase):
    async def test_every_page_shows_what_a_view_publishes(self) -> None:
        browser, cluster = await self.prepare()
        one, two = await self.open_on_both(browser, cluster, "live/")

        def publish(page: Any, text: str) -> None:
            page.fill("#message", text)
            page.click("#publish button")

        def use_form() -> Any:
            stream = opened(browser, f"{cluster.base_url}live/", PHONE)
            stream.check('input[value="sse"]')
            stream.wait_for_selector('#link[data-state="open"]:has-text("Event stream")')
            publish(one, "from a form")
            for page in (one, two, stream):
                wait_for(page, "#feed", "from a form")
            one.wait_for_selector("#receipt:has-text('Delivered to subscribers on 2 nodes')")
            plain = browser.open(f"{cluster.base_url}live/", java_script_enabled=False)
            publish(plain, "without scripts")
            for page in (one, two, stream):
                wait_for(page, "#feed", "without scripts")
            return stream

        stream = await browser.call(use_form)
        await self.manage(cluster, "publish", "live", "from a shell")

        def part() -> None:
            for page in (one, two, stream):
                wait_for(page, "#feed", "from a shell")
            two.context.set_offline(True)

        await browser.call(part)
        os.kill(cluster.pids["node1"], signal.SIGKILL)

        def meet() -> None:
            publish(one, "to those who are away")
            wait_for(one, "#feed", "to those who are away")
            two.context.set_offline(False)
            one.check('input[value="sse"]')  # the same messages by the other transport
            one.wait_for_selector('#link[data-state="open"]:has-text("Event stream")')
            for page in (one, two, stream):
                wait_for(page, "#feed", "to those who are away")
                newest_first = ["to those who are away", "from a shell", "without scripts"]
                self.assertEqual([*newest_first, "from a form"], texts(page, "#feed li"))

        await browser.call(meet)
        self.assert_no_troubles(browser)


@once
class AudienceTests(SiteTestCase):
    async def test_messages_reach_a_user_a_group_a_session_and_all(self) -> None:
        browser, cluster = await self.prepare()
        await self.manage(cluster, "createdemousers", "--password", PASSWORD)

        def log_in(name: str, password: str = PASSWORD) -> Any:
            page = browser.open(f"{cluster.base_url}login/?next=/audiences/")
            page.fill("#username", name)
            page.fill("#password", password)
            page.click("main button")
            return page

        def publish(page: Any, to: str, name: str, text: str, keep: bool = False) -> None:
            page.select_option("#to", to)
            if name:
                page.fill("#name", name)
            page.fill("#message", text)
            page.set_checked('input[name="keep"]', keep)
            page.click("#publish button")

        def use() -> None:
            wrong = log_in("ada", "wrong")
            wait_for(wrong, ".error", "There is no account with this name and password.")
            wrong.context.close()
            ada, alan = log_in("ada"), log_in("alan")
            for page in (ada, alan):
                page.wait_for_selector('#link[data-state="open"]')
            guest = opened(browser, f"{cluster.base_url}audiences/", PHONE)

            for option in ("user", "group"):
                self.assertTrue(guest.is_disabled(f"#to option[value={option}]"))
            publish(alan, "user", "ada", "for Ada")
            publish(alan, "group", "engineers", "for engineers")
            publish(alan, "group", "mathematicians", "for mathematicians")
            publish(guest, "session", "", "for my session")
            publish(guest, "broadcast", "", "for everybody", keep=True)
            for page, expected in (
                (ada, ["for Ada", "for engineers", "for everybody", "for mathematicians"]),
                (alan, ["for everybody", "for mathematicians"]),
                (guest, ["for everybody", "for my session"]),
            ):
                for text in expected:  # in any order, because views run on all nodes
                    wait_for(page, "#log span", text)
                self.assertEqual(expected, sorted(texts(page, "#log span")))

            late = opened(browser, f"{cluster.base_url}audiences/")
            wait_for(late, "#log span", "for everybody")

            ada.fill("#said", "from Ada")
            ada.press("#said", "Enter")
            for page in (alan, guest, late):
                wait_for(page, "#log .received span", "from Ada")
            self.assertEqual(["from Ada"], texts(ada, "#log .sent span"))
            self.assertTrue(guest.is_disabled("#said"))
            self.assertNotIn("from Ada", texts(ada, "#log .received span"))

            # Logging out on one page closes the WebSockets of all pages of the session.
            other = ada.context.new_page()
            other.goto(f"{cluster.base_url}demos/")
            other.click("text=Log out")
            ada.wait_for_selector('#link[data-state="refused"]')
            other.locator("text=Log in").wait_for()

        await browser.call(use)
        self.assert_no_troubles(browser)


@once
class PagesTests(SiteTestCase):
    async def test_every_page_is_readable_in_both_schemes_and_on_small_screens(self) -> None:
        browser, cluster = await self.prepare()

        def look(path: str) -> None:
            page = browser.open(cluster.base_url.rstrip("/") + path, reduced_motion="reduce")
            current = texts(page, "nav [aria-current]")
            self.assertEqual([PAGES[path]] if PAGES[path] else [], current, path)
            self.assertEqual(1, page.locator("h1").count(), path)
            for screen in (DESKTOP, PHONE):
                page.set_viewport_size(screen)
                width = page.evaluate("document.documentElement.scrollWidth")
                self.assertEqual(screen["width"], width, path)
                for link in page.locator("nav a").all():
                    box = link.bounding_box()
                    self.assertLessEqual(box["x"] + box["width"], screen["width"], path)
                for light in ("light", "dark"):
                    page.emulate_media(color_scheme=light)
                    contrast, text = page.evaluate(_CONTRAST)
                    self.assertGreaterEqual(contrast, 4.5, f"{path} {light}: {text!r}")
            page.context.close()

        for path in PAGES:
            await browser.call(look, path)
        # One of the pages does not exist, which Chromium reports.
        self.assertEqual([], [each for each in browser.troubles if "404" not in each])

    async def test_the_index_echo_and_forms_work(self) -> None:
        browser, cluster = await self.prepare()

        def follow_the_index() -> None:
            page = browser.open(f"{cluster.base_url}demos/")
            for number in range(page.locator(".cards a").count()):
                link = page.locator(".cards a").nth(number)
                title = link.inner_text()
                link.click()
                page.wait_for_url(lambda url: "/demos/" not in url)
                titles = (title, "Lobby", "Lobby by Socket.IO")
                self.assertIn(page.locator("h1").text_content(), titles)
                page.click(".brand")
                page.wait_for_url("**/demos/")
            self.assertEqual(9, number + 1)
            style = page.get_attribute("link[rel=stylesheet]", "href")
            headers = page.request.get(cluster.base_url.rstrip("/") + style).headers
            self.assertEqual("gzip", headers["content-encoding"])
            self.assertIn("immutable", headers["cache-control"])

        def talk() -> None:
            page = opened(browser, f"{cluster.base_url}test/", PHONE)
            for _ in range(2):
                for number, text in enumerate(("Spam?", "Eggs!", "Python."), 1):
                    page.fill("#message", text)
                    page.press("#message", "Enter")
                    wait_for(page, "#transcript .server", f"{number}. {text}")
                wait_for(page, "#transcript .server", "Goodbye!")
                page.wait_for_selector('#link[data-state="ended"]')
                page.click("#again")
                page.wait_for_selector('#link[data-state="open"]')
                wait_for(page, "#transcript .server", "Hello!")
            self.assertEqual(["Hello!"], texts(page, "#transcript li"))
            page.goto(f"{cluster.base_url}test/wsgi/")
            for method in ("GET", "POST"):
                page.fill(f"#{method.lower()}", f"<{method}>")
                page.press(f"#{method.lower()}", "Enter")
                wait_for(page, "#method strong", method)
                wait_for(page, "#arrived dd", f"<{method}>")

        await browser.call(follow_the_index)
        await browser.call(talk)
        self.assert_no_troubles(browser)
