"""The Life page in a real browser, on a real cluster, with a game played by a real swarm.

The board is read from the canvas's pixels and compared with the oracle.
"""

import os
import random
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from tests.e2e.browser import (
    PHONE,
    Board,
    Browser,
    read_board,
    record_boards,
    recorded_boards,
    start_browser,
    wait_for_step,
)
from tests.e2e.processes import (
    TEST_TIMEOUT_S,
    Cluster,
    Program,
    start_cluster,
    start_program,
)
from tests.once import once
from workers.life.rules import Grid, next_generation


def soup(size: int, seed: int) -> Grid:
    """Return a random grid with one cell in three alive."""
    dice = random.Random(seed)
    cells = [(row, column) for row in range(size) for column in range(size)]
    return Grid.of(size, [cell for cell in cells if dice.random() < 1 / 3])


def generations(grid: Grid) -> Iterator[bytes]:
    """Return the states of each generation, in the form of read_board."""
    while True:
        yield grid.states()
        grid = next_generation(grid, wrap=True)


class Game:
    """A game whose start is known to the test."""

    def __init__(self, size: int, seed: int, steps: int) -> None:
        self.size = size
        self.steps = steps
        self.start = soup(size, seed)
        states = generations(self.start)
        self.states = [next(states) for _ in range(steps + 1)]

    def pattern(self) -> str:
        """Return the start in the swarm's plain format."""
        rows = self.states[0].decode("latin-1").translate({0: ".", 1: "O"})
        size = self.size
        return "".join(f"{rows[at : at + size]}\n" for at in range(0, size * size, size))


@once
class PageTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def prepare(self, nodes: int = 2) -> tuple[Browser, Cluster]:
        browser = await start_browser(self)
        state = str(Path(self.mktemp()).absolute())
        cluster = await start_cluster(self, "--nodes", str(nodes), extra={"C10K_STATE_DIR": state})
        return browser, cluster

    def play(self, cluster: Cluster, game: Game, *options: str) -> Program:
        """Start the swarm, which ends after the game's last step."""
        pattern = Path(self.mktemp()).absolute()
        pattern.write_text(game.pattern())
        url = f"ws://127.0.0.1:{cluster.port}/"
        command = [sys.executable, "-m", "workers", "life", "--url", url, "--not-centred"]
        command += ["-p", str(pattern), "-s", str(game.size), "-n", str(game.steps), *options]
        return start_program(self, Program(), command, uuid.uuid4().hex)

    async def reach_end(self, browser: Browser, page: Any, game: Game, swarm: Program) -> None:
        """Wait until the swarm has played all steps and the page shows the last one."""
        await self.end(browser, swarm)
        await browser.call(wait_for_step, page, game.size, game.steps)
        self.assertEqual(browser.troubles, [])

    async def end(self, browser: Browser, swarm: Program) -> None:
        """Wait for the swarm's success, and check that no page had an error."""
        await swarm.end(timeout=300)
        self.assertEqual(swarm.status, 0, swarm.text)
        self.assertEqual(browser.troubles, [])

    def assert_shows(self, board: Board, game: Game) -> int:
        """Compare a board with the oracle's at the same step; returns the step."""
        self.assertEqual(board.size, game.size)
        states = zip(board.states, game.states[board.step], strict=True)
        wrong = [divmod(i, game.size) for i, (shown, right) in enumerate(states) if shown != right]
        self.assertEqual(wrong, [], f"wrong cells in step {board.step}")
        return board.step

    async def test_the_page_shows_the_oracles_grid_step_by_step(self) -> None:
        browser, cluster = await self.prepare()
        page: Any = await browser.call(browser.open, cluster.base_url)
        game = Game(32, seed=7, steps=20)
        await browser.call(record_boards, page)
        swarm = self.play(cluster, game, "-l", "4")  # a quarter of a second to draw each
        await browser.call(wait_for_step, page, game.size, 5)
        late: Any = await browser.call(browser.open, cluster.base_url)
        await self.reach_end(browser, page, game, swarm)
        await self.reach_end(browser, late, game, swarm)
        self.assert_shows(await browser.call(read_board, late), game)
        boards = [board for board in await browser.call(recorded_boards, page) if board.step]
        steps = [self.assert_shows(board, game) for board in boards]
        self.assertEqual(steps, sorted(steps))
        self.assertEqual(steps[-1], game.steps)
        # On a busy machine the page may skip some steps, but it must not skip most of them.
        self.assertGreater(len(set(steps)), game.steps / 2)

    async def test_ten_thousand_cells(self) -> None:
        browser, cluster = await self.prepare()
        page: Any = await browser.call(browser.open, cluster.base_url)
        game = Game(100, seed=8, steps=3)
        swarm = self.play(cluster, game, "-l", "0")
        await self.reach_end(browser, page, game, swarm)
        self.assert_shows(await browser.call(read_board, page), game)

    async def test_a_page_that_is_opened_late_shows_the_board_at_once(self) -> None:
        browser, cluster = await self.prepare()
        game = Game(16, seed=9, steps=8)
        swarm = self.play(cluster, game, "-l", "0")
        await self.end(browser, swarm)

        def join() -> Board:
            # The game is over, so the page received no changes, only the snapshot.
            page = browser.open(cluster.base_url)
            wait_for_step(page, game.size, game.steps)
            return read_board(page)

        for _ in range(3):  # on any node
            self.assertEqual(self.assert_shows(await browser.call(join), game), game.steps)
        self.assertEqual(browser.troubles, [])

    async def test_a_game_of_another_size_is_shown_without_a_reload(self) -> None:
        browser, cluster = await self.prepare()
        page: Any = await browser.call(browser.open, cluster.base_url)
        await browser.call(lambda: page.wait_for_selector("#idle", state="visible"))
        await browser.call(lambda: page.evaluate("() => { window.marked = true; }"))
        for size, steps in ((12, 6), (20, 4), (12, 2), (1, 2)):
            game = Game(size, seed=size, steps=steps)
            swarm = self.play(cluster, game, "-l", "0")
            await self.reach_end(browser, page, game, swarm)
            self.assert_shows(await browser.call(read_board, page), game)
        self.assertTrue(await browser.call(lambda: page.evaluate("() => window.marked")))

    async def test_the_page_shows_progress_while_the_game_gathers(self) -> None:
        browser, cluster = await self.prepare()
        page: Any = await browser.call(browser.open, cluster.base_url)
        # Observed inside the page: the text may be gone before it can be read from outside.
        await browser.call(
            lambda: page.evaluate(
                """() => {
                  const shown = document.getElementById("gathering");
                  window.shown = [];
                  new MutationObserver(() => {
                    const connected = document.getElementById("connected-bar").value;
                    if (connected > 0 && connected < 400) window.shown.push(shown.innerText);
                  }).observe(document.body, { attributes: true, childList: true, subtree: true });
                }"""
            )
        )
        game = Game(20, seed=10, steps=2)
        swarm = self.play(cluster, game, "-l", "0", "--ramp", "100")

        def watch() -> list[str]:
            wait_for_step(page, game.size, game.steps)
            page.wait_for_selector("#gathering", state="hidden")
            shown: list[str] = page.evaluate("() => window.shown")
            return shown

        shown = await browser.call(watch)
        self.assertGreater(len(shown), 0)
        for text in shown:
            self.assertRegex(text, r"Connected\s+\d+ of 400\s+Subscribed\s+\d+ of 400")
        await self.end(browser, swarm)

    async def test_the_page_fits_the_screen_of_a_phone(self) -> None:
        browser, cluster = await self.prepare()

        def opened() -> Any:
            return browser.open(
                cluster.base_url,
                PHONE,
                device_scale_factor=3,
                color_scheme="dark",
                reduced_motion="reduce",
                has_touch=True,
            )

        page: Any = await browser.call(opened)
        game = Game(24, seed=11, steps=5)
        swarm = self.play(cluster, game, "-l", "0")
        await self.reach_end(browser, page, game, swarm)
        self.assert_shows(await browser.call(read_board, page), game)

        def measures() -> dict[str, Any]:
            return {
                "board": page.locator("#board").bounding_box(),
                "page": page.evaluate("() => document.documentElement.scrollWidth"),
                "sharp": page.evaluate("() => document.getElementById('board').width"),
                "statistics": page.locator(".panel").bounding_box(),
            }

        found = await browser.call(measures)
        board, statistics = found["board"], found["statistics"]
        self.assertEqual(found["page"], PHONE["width"])
        self.assertAlmostEqual(board["width"], board["height"])
        self.assertGreater(board["width"], 0.9 * PHONE["width"])
        self.assertAlmostEqual(found["sharp"], 3 * board["width"], delta=0.1)
        self.assertLessEqual(board["y"] + board["height"], statistics["y"])
        self.assertLessEqual(statistics["y"] + statistics["height"], PHONE["height"])

    async def test_the_page_reconnects_by_itself(self) -> None:
        browser, cluster = await self.prepare(nodes=1)
        page: Any = await browser.call(browser.open, cluster.base_url)

        def wait_for_link(state: str) -> None:
            page.wait_for_selector(f'#link[data-state="{state}"]')

        await browser.call(wait_for_link, "open")
        # Observed inside the page: the state may be gone before it can be read from outside.
        await browser.call(
            lambda: page.evaluate(
                """() => {
                  window.links = [];
                  new MutationObserver(() => {
                    window.links.push(document.getElementById("link").dataset.state);
                  }).observe(document.getElementById("link"), { attributes: true });
                }"""
            )
        )
        os.kill(cluster.pids["node0"], signal.SIGKILL)
        await browser.call(lambda: page.wait_for_function("() => window.links.at(-1) === 'open'"))
        links = await browser.call(lambda: page.evaluate("() => window.links"))
        self.assertEqual(links[0], "waiting")
        game = Game(8, seed=12, steps=3)
        swarm = self.play(cluster, game, "-l", "0")
        await self.reach_end(browser, page, game, swarm)
        self.assert_shows(await browser.call(read_board, page), game)

    async def test_the_page_shows_that_a_game_is_over_and_that_its_server_is_gone(self) -> None:
        browser, cluster = await self.prepare(nodes=1)
        page: Any = await browser.call(browser.open, cluster.base_url)
        game = Game(8, seed=13, steps=3)
        await self.reach_end(browser, page, game, self.play(cluster, game, "-l", "0"))

        def wait_for_status(text: str) -> None:
            page.locator("#status").get_by_text(text).wait_for()

        await browser.call(wait_for_status, "Over: all of its clients have left.")
        cluster.kill()
        await cluster.end()
        await browser.call(wait_for_status, "The connection is lost")
        await browser.call(lambda: page.wait_for_selector('#link[data-state="waiting"]'))
