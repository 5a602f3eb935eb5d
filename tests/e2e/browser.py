"""A real Chromium for tests, driven by Playwright in another thread.

``browser = await start_browser(test)`` skips the test, with the reason, if there is no browser.
Use the browser only in ``await browser.call(function, ...)``, because Playwright blocks, and must
be used in the thread that started it.
"""

import os
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SkipTest, TestCase

from tests.e2e.processes import reactor

sync_playwright: Any
try:
    from playwright.sync_api import sync_playwright
except ImportError:
    sync_playwright = None

T = TypeVar("T")

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

ARGUMENTS = [
    "--headless",
    "--no-sandbox",  # containers seldom allow a sandbox; the pages are ours
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}

WAIT_MS = 90_000
"""Timeout of Playwright's waits, in milliseconds, long enough for a busy machine."""

_READ_BOARD = """() => {
  const canvas = document.getElementById("board");
  const size = Number(canvas.dataset.size);
  const width = canvas.width;
  const pixels = canvas.getContext("2d").getImageData(0, 0, width, width).data;
  const states = [];
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const x = Math.floor(((column + 0.5) * width) / size);
      const y = Math.floor(((row + 0.5) * width) / size);
      const at = (y * width + x) * 4;
      const [red, green, blue] = pixels.subarray(at, at + 3);
      const lightness = (Math.max(red, green, blue) + Math.min(red, green, blue)) / 510;
      states.push(lightness < 0.5 ? 1 : 0);
    }
  }
  return { size, step: Number(canvas.dataset.step), states };
}"""

# When a mutation observer runs, the canvas still shows what was drawn with these attributes.
_RECORD = f"""() => {{
  const read = {_READ_BOARD};
  window.boards = [];
  new MutationObserver(() => window.boards.push(read())).observe(
    document.getElementById("board"),
    {{ attributeFilter: ["data-step"] }},
  );
}}"""

_SHOWS = """([size, step]) => {
  const shown = document.getElementById("board").dataset;
  return Number(shown.size) === size && Number(shown.step) >= step;
}"""


class Board(NamedTuple):
    """The board on a page, read from its canvas's pixels; ``states`` has a byte for each cell."""

    size: int
    step: int
    states: bytes


class Browser:
    """One browser. Its methods, except ``call``, may be used only in functions that ``call``
    runs."""

    def __init__(self) -> None:
        self.troubles: list[str] = []
        """Errors of pages: exceptions, and violations of the content security policy."""
        self._threads = ThreadPool(1, 1, "browser")
        self._playwright: Any = None
        self._browser: Any = None

    def call(self, function: Callable[..., T], *arguments: Any) -> "Deferred[T]":
        """Run a function in the browser's thread; fires with its result."""
        return deferToThreadPool(reactor, self._threads, function, *arguments)

    def open(self, url: str, viewport: dict[str, int] = DESKTOP, **context: Any) -> Any:
        """Open a Playwright page at ``url``, in a new context."""
        page = self._browser.new_context(viewport=viewport, **context).new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("console", self._heard)
        page.goto(url)
        return page

    def start(self, path: str) -> None:
        self._threads.start()
        self._threads.callInThread(self._launch, path)

    def _launch(self, path: str) -> None:
        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(
            executable_path=path, args=ARGUMENTS, timeout=WAIT_MS
        )

    def _heard(self, message: Any) -> None:
        # Chromium also reports a WebSocket that could not be opened, which pages handle.
        if message.type == "error" and "WebSocket connection" not in message.text:
            self.troubles.append(message.text)

    def close(self) -> None:
        if self._browser is not None:
            self._browser.close()
        if self._playwright is not None:
            self._playwright.stop()


def wait_for_step(page: Any, size: int, step: int) -> None:
    """Wait until a board of this size is drawn at this step or a later one."""
    try:
        page.wait_for_function(_SHOWS, arg=[size, step])
    except Exception as error:
        shown = page.inner_text("body")
        raise AssertionError(f"no step {step} of {size} x {size}; shown is: {shown}") from error


def read_board(page: Any) -> Board:
    """Return the board that is shown now."""
    return _board(page.evaluate(_READ_BOARD))


def record_boards(page: Any) -> None:
    """Record every board that is drawn from now on, for ``recorded_boards``."""
    page.evaluate(_RECORD)


def recorded_boards(page: Any) -> list[Board]:
    """Return the boards drawn since ``record_boards``, in order."""
    return [_board(board) for board in page.evaluate("() => window.boards")]


def _board(read: dict[str, Any]) -> Board:
    return Board(read["size"], read["step"], bytes(read["states"]))


def chromium() -> str:
    """Return Chromium's path: $CHROMIUM, or the first on PATH. Raises SkipTest if there is none."""
    if sync_playwright is None:
        raise SkipTest("no browser test: Playwright is not installed")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        raise SkipTest(f"no browser test: none of {', '.join(NAMES)} is on PATH")
    return path


async def start_browser(test: TestCase) -> Browser:
    """Start a browser, which is closed when the test ends; skips the test if there is none."""
    path = chromium()
    browser = Browser()

    async def clean_up() -> None:
        try:
            await browser.call(browser.close)
        finally:
            browser._threads.stop()

    test.addCleanup(lambda: Deferred.fromCoroutine(clean_up()))
    browser.start(path)
    # Calls are queued after the launch, so this one fails if the launch failed.
    await browser.call(lambda: browser._browser.version)
    return browser
