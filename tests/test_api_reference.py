"""docs/reference/api.md has every public name, with its signature, and no other."""

import inspect
import re
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

import cluster
from cluster import testing
from cluster.django.websocket.websocket import WebSocket
from tests.django.site import load_site

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "api.md"

HEADING = re.compile(r"^(###+) `([^`]+)`$", re.MULTILINE)

INSIDE = {
    "WebSocket": {"connection_closed", "leave_all", "identified_by", "task"},
    "Client": {"open", "raise_unseen"},
}
"""Methods that the node calls, or the block of a client; they are said to be so in the code."""

WITHOUT_SIGNATURE = {"WebSocket", "Client", "LiveClient", "LiveClusterTestCase", "Refused"}
"""Classes that applications do not make themselves."""


def signature(function: Any, is_method: bool = False) -> str:
    """The parameters with their defaults, without annotations; empty where there are none."""
    try:
        found = inspect.signature(function)
    except ValueError:
        return ""
    parameters = list(found.parameters.values())[is_method:]
    plain = [each.replace(annotation=each.empty) for each in parameters]
    return str(found.replace(parameters=plain, return_annotation=found.empty))


def written(name: str, found: Any) -> str:
    """How a public name's heading must look."""
    if not callable(found) or name in WITHOUT_SIGNATURE:
        return name
    if inspect.isclass(found) and issubclass(found, Exception) and "__init__" not in vars(found):
        return name
    return name + signature(found)


def methods(kind: type, before: str) -> set[str]:
    """How the headings of a class's public methods must look."""
    inside = INSIDE.get(kind.__name__, set())
    return {
        f"{before}.{name}{signature(function, True)}"
        for name, function in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and name not in inside
    }


class ApiReferenceTests(TestCase):
    def setUp(self) -> None:
        load_site()
        self.text = PAGE.read_text()
        headings = HEADING.findall(self.text)
        self.names = {text for level, text in headings if level == "###"}
        self.methods = {text for level, text in headings if level == "####"}

    def test_names(self) -> None:
        expected = {
            written(name, getattr(module, name))
            for module in (cluster, testing)
            for name in module.__all__
            if name != "WebSocket"  # has a section of its own
        }
        self.assertEqual(expected, self.names)
        self.assertIn("\n## `WebSocket`\n", self.text)

    def test_methods(self) -> None:
        expected = methods(WebSocket, "ws") | methods(testing.Client, "client")
        expected.add(f"self.connect{signature(testing.LiveClusterTestCase.connect, True)}")
        self.assertEqual(expected, self.methods)

    def test_attributes(self) -> None:
        attributes = {
            name
            for name, found in inspect.getmembers(WebSocket)
            if not name.startswith("_") and not inspect.isfunction(found)
        }
        named = set(re.findall(r"`ws\.(\w+)`", self.text))
        self.assertEqual(set(), attributes - INSIDE["WebSocket"] - named)
        self.assertEqual(set(), {name for name in named if not hasattr(WebSocket, name)})

    def test_methods_of_the_live_client(self) -> None:
        section = self.text.rpartition("### `LiveClient`")[2]
        expected = {
            name
            for name, _ in inspect.getmembers(testing.LiveClient, inspect.isfunction)
            if not name.startswith("_")
        }
        self.assertEqual(set(), expected - set(re.findall(r"`(\w+)`", section)))
