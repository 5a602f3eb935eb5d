"""docs/tools/diagrams.py, and that the diagrams in the documentation are what it draws."""

import xml.etree.ElementTree as ElementTree
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"


def load() -> Any:
    """The tool, which is in no package."""
    spec = spec_from_file_location("diagrams", ROOT / "docs" / "tools" / "diagrams.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class DiagramTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.draw = load().draw

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
