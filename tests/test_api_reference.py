"""docs/reference/api: each public name is on one of the pages, and no other name is."""

import re
from pathlib import Path

from twisted.trial.unittest import TestCase

import cluster
from cluster import socketio, testing

MODULES = (cluster, socketio, testing)

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "api.md"
PAGES = sorted((PAGE.parent / "api").glob("*.md"))

INSIDE = {
    "WebSocket": {"connection_closed", "task"},
    "Client": {"open", "raise_unseen"},
    "SocketIOClient": {"observe", "open", "raise_error"},
    "Namespace": {"attach", "link", "server_event", "server_name"},
    "Emitter": {"link"},
    "SocketIO": {"link", "take"},
    "Socket": {
        "acknowledge",
        "acknowledged",
        "add",
        "close_client",
        "connect",
        "connecting",
        "data_changes",
        "data_text",
        "describe",
        "disconnect_here",
        "enter_here",
        "expect",
        "go_live",
        "gone",
        "leave_here",
        "recover",
        "user_key",
    },
}
"""Methods that only the node, a server or a client's ``with`` block calls."""


def rendered_by(page: Path) -> list[str]:
    """Return the names whose docstrings a page renders."""
    names = re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
    # A function that has the name of its module stands under both.
    return [re.sub(r"\.(\w+)\.\1$", r".\1", name) for name in names]


class PublicNamesTests(TestCase):
    def test_dir(self) -> None:
        listed = [name for name in dir(cluster) if not name.startswith("__")]
        self.assertEqual(sorted(cluster.__all__), listed)
        for name in cluster.__all__:
            self.assertIsNotNone(getattr(cluster, name))
        self.assertRaises(AttributeError, getattr, cluster, "barrier")

    def test_type_checkers_know_the_same_names(self) -> None:
        source = Path(cluster.__file__).read_text()
        imported = re.findall(r"^    from ([\w.]+) import (\w+) as \2$", source, re.MULTILINE)
        self.assertEqual(cluster._PUBLIC, {name: module for module, name in imported})


class ApiReferenceTests(TestCase):
    def test_each_name_is_rendered_once(self) -> None:
        rendered = [name for page in PAGES for name in rendered_by(page)]
        expected = [f"{module.__name__}.{name}" for module in MODULES for name in module.__all__]
        self.assertEqual(sorted(expected), sorted(rendered))

    def test_the_overview_has_each_name_under_its_page(self) -> None:
        sections = re.split(r"^## \[.*\]\((api/\w+\.md)\)$", PAGE.read_text(), flags=re.MULTILINE)
        listed = {}
        for link, text in zip(sections[1::2], sections[2::2], strict=True):
            first = re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE)
            listed[link] = {name for cell in first for name in re.findall(r"`(\w+)`", cell)}
        expected = {
            f"api/{page.name}": {name.rpartition(".")[2] for name in rendered_by(page)}
            for page in PAGES
        }
        self.assertEqual(expected, listed)
