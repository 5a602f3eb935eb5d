"""The status page in a real browser: content, changes without reload, phone, accessibility."""

import os
import signal
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from twisted.trial.unittest import TestCase

from tests.e2e.asking import ready
from tests.e2e.browser import DESKTOP, PHONE, start_browser
from tests.e2e.processes import TEST_TIMEOUT_S, reactor, start_cluster
from tests.e2e.wsclient import connect
from tests.once import once


@once
class StatusPageTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def test_it_shows_what_happens(self) -> None:
        browser = await start_browser(self)
        cluster = await start_cluster(self, "--nodes", "4")
        await ready(cluster.admin_url)
        client = await connect(reactor, cluster.base_url.replace("http", "ws") + "chat/ws/")
        await client.next_message()

        def look() -> list[Any]:
            pages = []
            for viewport in (DESKTOP, PHONE):
                for scheme in ("light", "dark"):
                    page = browser.open(cluster.admin_url, viewport, color_scheme=scheme)
                    page.wait_for_selector('#state[data-state="ready"]')
                    page.wait_for_selector("#processes tbody tr:nth-child(5)")
                    page.locator("#topics").get_by_text("chat").first.wait_for()
                    self.assertEqual([], self.overflow(page), viewport)
                    self.assertEqual([], self.violations(page))
                    pages.append(page)
            return pages

        pages = await browser.call(look)
        back = cluster.line("node2 ready")
        os.kill(cluster.pids["node2"], signal.SIGKILL)

        def change() -> None:
            for page in pages:
                page.locator("#events").get_by_text("node2 ended (SIGKILL)").wait_for()

        await browser.call(change)
        await back

        def again() -> None:
            for page in pages:
                row = page.locator("#processes tbody tr").nth(2)
                row.get_by_text("2 (SIGKILL").wait_for()
                row.get_by_text("ready").wait_for()

        await browser.call(again)
        cluster.kill()
        await cluster.end()

        def gone() -> None:
            for page in pages:
                page.wait_for_selector('#state[data-state="gone"]')

        await browser.call(gone)
        troubles = [each for each in browser.troubles if "net::ERR_" not in each]
        self.assertEqual([], troubles)

    @staticmethod
    def overflow(page: Any) -> list[str]:
        """What is wider than the window."""
        found: list[str] = page.evaluate(
            """() => document.documentElement.scrollWidth > innerWidth
                 ? [String(document.documentElement.scrollWidth)] : []"""
        )
        return found

    @staticmethod
    def violations(page: Any) -> list[str]:
        """What axe-core finds."""
        results = Axe().run(page)
        return [
            f"{each['id']}: {each['nodes'][0]['html']}" for each in results.response["violations"]
        ]
