"""docs/tools: diagrams are generated from their sources; links of the site."""

import xml.etree.ElementTree as ElementTree
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"


def load(name: str) -> Any:
    """Load a tool, which is not in a package."""
    spec = spec_from_file_location(name, ROOT / "docs" / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class DiagramTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.draw = load("diagrams").draw

    def test_drawn_from_their_sources(self) -> None:
        sources = sorted(IMAGES.glob("*.txt"))
        self.assertEqual(
            ["drain", "handshake", "publish", "resume"], [source.stem for source in sources]
        )
        for source in sources:
            drawn = source.with_suffix(".svg").read_text()
            message = f"{source.name} has changed: python docs/tools/diagrams.py"
            self.assertEqual(self.draw(source.read_text()), drawn, message)

    def test_steps(self) -> None:
        text = "participants: A | B\nA -> B: one\\ntwo & three\nB --> A: lost\n== later\nA: waits\n"
        root = ElementTree.fromstring(self.draw(text))
        texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
        self.assertEqual(["A", "B", "one", "two & three", "lost", "later", "waits"], texts)

    def test_an_unknown_participant(self) -> None:
        with self.assertRaises(KeyError):
            self.draw("participants: A | B\nA -> C: nobody\n")


class LinkTests(SynchronousTestCase):
    """docs/tools/hooks.py converts links of files to links of the site."""

    def setUp(self) -> None:
        self.hooks = load("hooks")

    def turn(self, link: str, file: str, page: str) -> str:
        turned: str = self.hooks.turn(link, (ROOT / file).parent, page)
        return turned

    def test_from_a_page_of_the_site(self) -> None:
        page = "how-to/deploy.md"
        for link, expected in (
            ("auth.md#log-in-from-a-program", "auth.md#log-in-from-a-program"),
            ("../images/life.webp", "../images/life.webp"),
            ("../../CONTRIBUTING.md#set-up", "../contributing.md#set-up"),
            ("../../deploy/README.md", "../reference/deploy-files.md"),
            ("../../deploy/nginx.conf", f"{self.hooks.SOURCE}deploy/nginx.conf"),
            ("../../README.md", "../README.md"),
            ("#2-check-what-is-missing", "#2-check-what-is-missing"),
            ("https://example.com/", "https://example.com/"),
        ):
            self.assertEqual(expected, self.turn(link, f"docs/{page}", page))

    def test_from_a_file_outside(self) -> None:
        for link, expected in (
            ("docs/glossary.md", "glossary.md"),
            ("docs/", "README.md"),
            ("SECURITY.md", "security.md"),
            ("tests/profiles.py", f"{self.hooks.SOURCE}tests/profiles.py"),
        ):
            self.assertEqual(expected, self.turn(link, "CONTRIBUTING.md", "contributing.md"))
        turned = self.turn(
            "../docs/how-to/deploy.md", "deploy/README.md", "reference/deploy-files.md"
        )
        self.assertEqual("../how-to/deploy.md", turned)

    def test_what_is_missing_stays_for_the_report(self) -> None:
        self.assertEqual("nothing.md", self.turn("nothing.md", "docs/why.md", "why.md"))

    def test_examples_are_left_alone(self) -> None:
        class Page:
            class file:
                src_uri = "why.md"

        text = "[a](../LICENSE)\n\n```md\n[a](../LICENSE)\n```\n"
        expected = text.replace("../LICENSE", f"{self.hooks.SOURCE}LICENSE", 1)
        self.assertEqual(expected, self.hooks.on_page_markdown(text, Page))
