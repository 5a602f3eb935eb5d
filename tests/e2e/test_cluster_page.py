"""The page of the cluster at work: its buttons kill processes, and the game comes out right."""

from typing import Any

from twisted.trial.unittest import TestCase

from tests.e2e.asking import ready
from tests.e2e.browser import start_browser
from tests.e2e.processes import TEST_TIMEOUT_S, start_cluster
from tests.once import once


@once
class ClusterPageTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def test_processes_are_killed_and_no_cell_is_wrong(self) -> None:
        browser = await start_browser(self)
        token = {"C10K_DEMO_TOKEN": "of this run"}
        cluster = await start_cluster(self, "--nodes", "4", extra=token)
        await ready(cluster.admin_url)

        def begin() -> Any:
            page = browser.open(f"{cluster.base_url}cluster/?token=of%20this%20run")
            page.wait_for_selector('#link[data-state="open"]')
            self.assertNotIn("token", page.url)
            page.click("#play")  # a small game, in a process that ends with the cluster
            self.wait_for_step(page, 5)
            return page

        page = await browser.call(begin)
        for name in ("node2", "broker"):
            back = cluster.line(f"{name} ready")

            def kill(name: str = name) -> None:
                page.click(f'button[aria-label="Kill {name}"]')
                page.locator("#log").get_by_text(f"{name} is dead").first.wait_for()

            await browser.call(kill)
            await back

            def look(name: str = name) -> None:
                page.locator("#log").get_by_text(f"{name} is back after").first.wait_for()
                step = int(page.get_attribute("#board", "data-step"))
                self.wait_for_step(page, step + 5)
                page.wait_for_selector("#step:has-text('256 of 256 cells connected')")
                page.wait_for_selector("#wrong:has-text('0 wrong cells')")

            await browser.call(look)

        def result() -> tuple[int, str]:
            return int(page.get_attribute("#board", "data-compared")), page.inner_text("#log")

        compared, log = await browser.call(result)
        self.assertGreater(compared, 10)
        self.assertIn("0 wrong cells", log)

    @staticmethod
    def wait_for_step(page: Any, step: int) -> None:
        page.wait_for_function(
            "step => Number(document.getElementById('board').dataset.step) >= step", arg=step
        )
