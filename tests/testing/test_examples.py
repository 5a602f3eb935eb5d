"""The Python examples of README.md and docs/quickstart.md work as described."""

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from django.test import Client, override_settings
from twisted.trial.unittest import SynchronousTestCase

from cluster.testing import asynchronous, connect
from tests.django.site import load_site

ROOT = Path(__file__).resolve().parents[2]


def examples(page: str) -> list[str]:
    """Return the Python examples in a page of the documentation."""
    return re.findall(
        r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE
    )


class ExampleTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()

    def serve(self, urls: Any) -> None:
        settings = override_settings(ROOT_URLCONF=urls, LOGIN_URL="/login/")
        settings.enable()
        self.addCleanup(settings.disable)


class ReadmeTests(ExampleTestCase):
    """``mysite``, made of the modules on the page."""

    page = "README.md"

    def setUp(self) -> None:
        super().setUp()
        folder = Path(tempfile.mkdtemp(prefix="c10k-test-"))
        self.addCleanup(shutil.rmtree, folder)
        (folder / "mysite").mkdir()
        for text in examples(self.page):
            match = re.match(r"# (mysite/\w+\.py)", text)
            assert match is not None, text
            (folder / match[1]).write_text(text)
        self.patch(sys, "path", [str(folder), *sys.path])
        self.addCleanup(self.forget)
        self.serve("mysite.urls")

    def forget(self) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "mysite"]:
            del sys.modules[name]

    @asynchronous
    async def test_a_view_publishes(self) -> None:
        async with connect("/ws/prices/acme/") as client, connect("/ws/prices/other/") as other:
            response = Client(SERVER_NAME="localhost").post(
                "/quote/", {"symbol": "acme", "price": "47.11"}
            )
            self.assertEqual(200, response.status_code)
            self.assertEqual("47.11", await client.receive())
            await client.send("of a client that is nobody")
            await other.nothing()


class QuickstartTests(ReadmeTests):
    page = "docs/quickstart.md"
