"""Record docs/images/life.webp: the page of the Game of Life while real clients play it.

    pip install -e ".[test]" pillow
    python docs/tools/record.py

Starts what `make demo` starts (four nodes, one client for each of the 32×32 cells), opens the page
in Chromium, and takes one picture for each step. Chromium is the one on PATH, or that of CHROMIUM.
"""

import argparse
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "docs" / "images" / "life.webp"

VIEWPORT = {"width": 900, "height": 450}  # so that it fits the README's first screen
FIRST_STEP = 20  # by then the random start has grown into shapes
STEP_MS = 250  # the demo's own pace, four steps a second
MAX_BYTES = 1_000_000

READY = re.compile(r"The Game of Life: +(\S+)")
WAIT_MS = 60_000


@contextmanager
def demo(nodes: int) -> Iterator[str]:
    """A cluster on a free port and a game on it; gives the page's URL."""
    command = [sys.executable, "-m", "workers.demo", "--port", "0", "--nodes", str(nodes)]
    with tempfile.TemporaryDirectory() as state:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"C10K_STATE_DIR": state},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            found = next(filter(None, map(READY.search, process.stdout)), None)
            if found is None:
                raise SystemExit("the demo did not start")
            yield found[1]
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)


def pictures(page: Any, count: int) -> Iterator[Image.Image]:
    """One for each of so many steps, none twice."""
    step = FIRST_STEP
    for _ in range(count):
        page.wait_for_function(
            "step => Number(document.getElementById('board').dataset.step) >= step",
            arg=step,
            timeout=WAIT_MS,
        )
        shown = page.evaluate("Number(document.getElementById('board').dataset.step)")
        yield Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        step = shown + 1


def main() -> None:
    """Record, and say how large the file is."""
    parser = argparse.ArgumentParser(description="Record the Game of Life's page.")
    parser.add_argument("--steps", type=int, default=60, help="pictures to take (60)")
    parser.add_argument("--nodes", type=int, default=4, help="node processes (4)")
    options = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with demo(options.nodes) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport=VIEWPORT, color_scheme="light")
        page.goto(url)
        first, *others = pictures(page, options.steps)
        browser.close()
    first.save(
        TARGET,
        save_all=True,
        append_images=others,
        duration=STEP_MS,
        loop=0,
        lossless=True,  # few colours and sharp edges: smaller than lossy
        method=6,
        minimize_size=True,
    )
    size = TARGET.stat().st_size
    print(f"{TARGET.relative_to(ROOT)}: {1 + len(others)} pictures, {size:,} bytes")
    if size > MAX_BYTES:
        raise SystemExit(f"that is more than {MAX_BYTES:,}: take fewer steps")


if __name__ == "__main__":
    main()
