"""The tutorial's steps, in an empty folder, with c10k from its wheel.

There are two differences from the text: the virtual environment exists already, and the servers use
a free port. The pages are checked in a real browser.
"""

import re
import shlex
import uuid
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests import test_packaging as packaging
from tests.e2e.asking import get_until
from tests.e2e.browser import Browser, start_browser
from tests.e2e.processes import Program, start_program
from tests.e2e.tutorial import File, Typed, steps
from tests.once import once

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial" / "README.md"

INSTALL = "python3 -m venv .venv\n. .venv/bin/activate\npip install django_c10k-*.whl"


READY = r"(?:Starting development server at|c10k ready:) (http://127\.0\.0\.1:\d+/)"


def wait_for_text(page: Any, selector: str, text: str) -> None:
    page.wait_for_function(
        "([selector, text]) => document.querySelector(selector)?.textContent === text",
        arg=[selector, text],
    )


class StepsTests(TestCase):
    def test_files_and_commands(self) -> None:
        text = (
            "Write\n```python\n# a/b.py\nx = 1\n```\nand\n"
            "```html\n<!-- a/c.html -->\n<p>\n```\n"
            "```js\n// d.js (at the end)\ny()\n```\n"
            "```python\nonly = 'read'\n```\n"
            "```sh\nls\n```\n```sh\ntwistd -n c10k\n```\n"
        )
        expected = [
            File("a/b.py", "x = 1\n", False),
            File("a/c.html", "<p>\n", False),
            File("d.js", "y()\n", True),
            Typed("ls"),
            Typed("twistd -n c10k"),
        ]
        self.assertEqual(expected, steps(text))
        self.assertEqual([False, True], [step.is_server for step in steps(text)[3:]])  # type: ignore[union-attr]

    def test_files_are_written(self) -> None:
        folder = Path(self.mktemp())
        File("a/b", "one\n", False).write(folder)
        File("a/b", "two\n", True).write(folder)
        self.assertEqual("one\n\ntwo\n", (folder / "a" / "b").read_text())


@once
class TutorialTests(TestCase):
    """Slow, because the wheel is built and installed (shared with test_packaging)."""

    timeout = 900

    async def test_the_tutorials_steps_work(self) -> None:
        self.browser: Browser = await start_browser(self)
        await deferToThread(self.install)
        self.server: Program | None = None
        self.url = ""
        self.pages: list[Any] = []
        self.heard: dict[Any, list[Any]] = {}
        done = set()
        for step in steps(PAGE.read_text()):
            if isinstance(step, File):
                step.write(self.folder)
            elif step.is_server:
                await self.serve(step.text)
                check = f"look_at_{step.text.split()[0]}"
                await getattr(self, check)()
                done.add(check)
            elif step.text != INSTALL:
                output = await deferToThread(self.type, step.text)
                if step.text.startswith("python manage.py publish"):
                    await self.look_at_published(output)
                    done.add("look_at_published")
                elif step.text == "python manage.py test":
                    self.assertIn("Ran 3 tests", output)
                    done.add("tests")
        self.assertEqual({"look_at_python", "look_at_published", "tests", "look_at_twistd"}, done)
        self.assertEqual([], self.browser.troubles)

    def install(self) -> None:
        """Do what INSTALL does, with an environment that other tests use, too."""
        python = packaging.environment() / "python"
        packaging.pip(
            str(python), "install", "--no-deps", "--force-reinstall", str(packaging.wheel())
        )
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / ".venv").symlink_to(packaging.environment().parent)

    def shell(self, text: str) -> list[str]:
        return ["bash", "-ec", f". .venv/bin/activate\n{text}"]

    def type(self, text: str) -> str:
        """Run a command in a shell, and wait for its end."""
        runtime = str(self.server.runtime) if self.server is not None else str(self.folder)
        return packaging.run(self.shell(text), self.folder, {"XDG_RUNTIME_DIR": runtime})

    async def serve(self, text: str) -> None:
        """Start a server on a free port; the previous server is stopped."""
        await self.stop()
        where = "127.0.0.1:0" if "runserver" in text else "--listen tcp:0"
        command = self.shell(f"unset PYTHONPATH DJANGO_SETTINGS_MODULE\nexec {text} {where}")
        self.server = Program()
        start_program(self, self.server, command, uuid.uuid4().hex, cwd=str(self.folder))
        # Runs before start_program's clean-up, which kills: a reloader ends its child only after a
        # signal that it can handle.
        self.addCleanup(lambda: Deferred.fromCoroutine(self.stop()))
        ready: re.Match[str] = await self.server.line(READY)
        self.url = f"{ready[1]}polls/1/"
        self.pages = []
        await get_until(self.url, 200)

    async def stop(self) -> None:
        if self.server is not None:
            self.server.kill()
            await self.server.end()

    def open(self) -> "Deferred[Any]":
        return self.browser.call(self.browser.open, self.url)

    async def open_subscribed(self) -> Any:
        """Open a page, and wait until it is subscribed, because topics may retain nothing."""
        page: Any = await self.browser.call(self.browser.open, "about:blank")
        heard = self.heard[page] = []
        await self.browser.call(
            page.on,
            "websocket",
            lambda socket: socket.on("framereceived", lambda data: heard.append(socket)),
        )
        await self.browser.call(page.goto, self.url)
        await self.subscribed(page, 1)
        return page

    async def subscribed(self, page: Any, times: int) -> None:
        """Wait until the page has subscribed ``times`` times: once for each load."""

        def look() -> None:
            while len(set(self.heard[page])) < times:
                page.wait_for_timeout(50)  # Playwright reports WebSockets meanwhile

        await self.browser.call(look)

    def shows(self, page: Any, choice: int, votes: int) -> "Deferred[None]":
        return self.browser.call(wait_for_text, page, f"output[for=choice-{choice}]", str(votes))

    async def look_at_python(self) -> None:
        """A vote on one page is shown on the other."""
        self.pages = [await self.open_subscribed(), await self.open_subscribed()]
        voter, other = self.pages
        await self.browser.call(lambda: voter.click("button[value='1']"))
        for page in (other, voter):
            await self.shows(page, 1, 1)
        await self.subscribed(voter, 2)

    async def look_at_published(self, output: str) -> None:
        """Messages that another process publishes are shown on both pages."""
        self.assertIn("Delivered to 2 subscribers on 1 node", output)
        for page in self.pages:
            await self.shows(page, 1, 12)
            await self.shows(page, 2, 9)
            await self.browser.call(page.close)  # before the server stops, which would cause errors

    async def look_at_twistd(self) -> None:
        """The same on two nodes; a page that is opened later receives the newest message."""
        self.pages = [await self.open() for _ in range(6)]
        voter = self.pages[0]
        await self.browser.call(lambda: voter.click("button[value='2']"))
        for page in self.pages:
            await self.shows(page, 2, 1)
            await self.browser.call(wait_for_text, page, "#watchers", "6 watching")
        await deferToThread(self.type, "python manage.py publish poll/1 " + shlex.quote('{"2": 7}'))
        await self.shows(await self.open(), 2, 7)
