"""The how-to guides for htmx and Turbo: their code, in a real browser, on two nodes."""

import os
import signal
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from tests.e2e.browser import Browser, start_browser
from tests.e2e.processes import TEST_TIMEOUT_S, Cluster, start_cluster
from tests.e2e.tutorial import File, steps
from tests.once import once

GUIDES = Path(__file__).resolve().parents[2] / "docs" / "how-to"


def write_applications(folder: Path) -> None:
    """Write the files that the guides show."""
    for guide in ("htmx.md", "turbo.md"):
        for step in steps((GUIDES / guide).read_text()):
            assert isinstance(step, File)
            step.write(folder)


def shows(page: Any, selector: str, *texts: str) -> None:
    try:
        page.wait_for_function(
            """([selector, texts]) => {
              const found = [...document.querySelectorAll(selector)];
              return found.map((each) => each.textContent.trim()).join() === texts;
            }""",
            arg=[selector, ",".join(texts)],
        )
    except Exception as error:
        raise AssertionError(f"{selector} shows no {texts}: {page.content()}") from error


@once
class HowToTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def test_pages_follow_resume_and_notice_losses(self) -> None:
        browser = await start_browser(self)
        folder = Path(self.mktemp()).absolute()
        write_applications(folder)
        path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
        self.patch(os, "environ", {**os.environ, "PYTHONPATH": path})
        cluster = await start_cluster(self, "--settings", "tests.e2e.how_to_site", "--nodes", "2")
        pages = await browser.call(self.open_pages, browser, cluster)
        await browser.call(self.publish, pages, "1", "2")

        def go_offline() -> None:
            for name in ("match", "talk"):
                shows(pages[name], "#comments li", "1", "2")
            shows(pages["board"], "#cards li", "1", "2")
            shows(pages["match"], "#score b", "0:2")
            for name in ("match", "talk", "board"):
                pages[name].context.set_offline(True)

        await browser.call(go_offline)
        await self.replace_nodes(cluster)
        await browser.call(self.publish, pages, "3")

        def resume() -> None:
            for name in ("match", "talk", "board"):
                pages[name].context.set_offline(False)
            for name in ("match", "talk"):
                shows(pages[name], "#comments li", "1", "2", "3")
            shows(pages["board"], "#cards li", "1", "2", "3")
            shows(pages["match"], "#score b", "0:3")
            for name in ("match", "talk", "board"):
                pages[name].context.set_offline(True)

        await browser.call(resume)
        await self.replace_nodes(cluster)
        await browser.call(self.publish, pages, "4", "5", "6", "7")

        def begin_again() -> None:
            """More is lost than the topics keep."""
            for name in ("match", "talk", "board"):
                pages[name].context.set_offline(False)
            for name in ("match", "talk"):
                shows(pages[name], "#comments li", "5", "6", "7")
            shows(pages["board"], "#cards li", "5", "6", "7")

        await browser.call(begin_again)

    def open_pages(self, browser: Browser, cluster: Cluster) -> dict[str, Any]:
        # Other pages publish, for those that are offline.
        paths = {"match": "matches/7/", "talk": "matches/7/talk/", "board": "board/"}
        paths |= {"reporter": "matches/7/", "author": "board/"}
        return {name: browser.open(cluster.base_url + path) for name, path in paths.items()}

    def publish(self, pages: dict[str, Any], *texts: str) -> None:
        post = """([url, text]) => fetch(url, {
          method: "POST",
          body: new URLSearchParams({
            text,
            score: `0:${text}`,
            csrfmiddlewaretoken: document.querySelector("[name=csrfmiddlewaretoken]").value,
          }),
        }).then(({ status }) => status)"""
        for text in texts:
            for path in ("/matches/7/comment/", "/matches/7/goal/"):
                self.assertEqual(pages["reporter"].evaluate(post, [path, text]), 204)
            self.assertEqual(pages["author"].evaluate(post, ["/board/add/", text]), 204)

    async def replace_nodes(self, cluster: Cluster) -> None:
        """Going offline does not close open connections, but killing the nodes does."""
        for name in ("node0", "node1"):
            replaced = cluster.line(f"{name} ready")
            os.kill(cluster.pids[name], signal.SIGKILL)
            await replaced
