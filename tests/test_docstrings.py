"""Docstrings of the public API: of each name in `cluster` and `cluster.testing`, and its methods.

They have the sections of Google's style, which the documentation renders::

    def publish_json(topic: str, value: Any, *, timeout: float = 10.0) -> Receipt:
        \"""Send value, encoded as JSON, to every subscriber of topic on all nodes.

        Call it from any thread. Inside a transaction the message is sent after the commit.

        Args:
            topic: The topic's name.
            value: What Django's JSON encoder accepts.
            timeout: Seconds to wait for the broker.

        Returns:
            The receipt: how many nodes took the message.

        Raises:
            NotRunning: No cluster is running.
        \"""

CONTRIBUTING.md has the rules. ``python -m tests.test_docstrings`` prints everything that is wrong.
"""

import ast
import builtins
import dataclasses
import enum
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn

import django.core.exceptions
import django.http
from twisted.trial.unittest import SynchronousTestCase

import cluster
from cluster import socketio, testing
from cluster.core import exceptions
from tests.django.site import load_site
from tests.test_api_reference import INSIDE

ROOT = Path(__file__).parent.parent

SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")
SECTION = re.compile(rf"^({'|'.join(SECTIONS)}):$", re.MULTILINE)
ENTRY = re.compile(r"^    (\*{0,2}\w[\w.]*): \S", re.MULTILINE)
NOT_MADE_BY_USERS = re.compile(r"\bdo not create\b", re.IGNORECASE)
RAISES = re.compile(r"\braises\b", re.IGNORECASE)

NOT_DOCUMENTED = {"AssertionError", "NotImplementedError", "StopIteration", "StopAsyncIteration"}
"""Exceptions that are no part of a function's contract, or that its protocol says it raises."""


def split(docstring: str) -> tuple[str, dict[str, str]]:
    """The text before the sections, and each section's text."""
    before, *rest = SECTION.split(docstring)
    return before, dict(zip(rest[::2], rest[1::2], strict=True))


def entries(section: str) -> list[str]:
    """The names that a section explains, in its order."""
    return ENTRY.findall(section)


def unwrapped(function: Any) -> Any:
    return inspect.unwrap(function)


def raised(function: Callable[..., Any]) -> set[str]:
    """The exceptions that a function's own lines raise, without those of functions inside it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    names = set()
    waiting = list(ast.iter_child_nodes(tree))
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        if isinstance(node, ast.Raise) and node.exc is not None:
            cause = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = cause.attr if isinstance(cause, ast.Attribute) else getattr(cause, "id", "")
            if name[:1].isupper():  # a variable holds what somebody else raised
                names.add(name)
        waiting += ast.iter_child_nodes(node)
    return names - NOT_DOCUMENTED


def is_an_exception(name: str) -> bool:
    """Whether readers can find an exception of this name."""
    places = (builtins, cluster, socketio, testing, exceptions, django.core.exceptions, django.http)
    found = next((getattr(place, name) for place in places if hasattr(place, name)), None)
    return inspect.isclass(found) and issubclass(found, BaseException)


def parameters(function: Any, is_method: bool) -> list[str]:
    """As they are named under Args: ``*args`` and ``**kwargs`` with their stars."""
    found = list(inspect.signature(function).parameters.values())[is_method:]
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [stars.get(each.kind, "") + each.name for each in found]


def check_text(docstring: str | None) -> Iterator[str]:
    """What every docstring has: a first line that is a sentence, sections that are read as such."""
    if not docstring:
        yield "has no docstring"
        return
    first, *rest = docstring.splitlines()
    if not first.endswith("."):
        yield f"the first line is no sentence: {first!r}"
    if rest and rest[0]:
        yield "no blank line after the first line"
    before, sections = split(docstring)
    if RAISES.search(before) and "Raises" not in sections:
        yield 'says "raises" without a section Raises:'
    for name in entries(sections.get("Raises", "")):
        if not is_an_exception(name.rpartition(".")[2]):
            yield f"Raises: there is no exception {name}"


def check_names(docstring: str, section: str, expected: list[str]) -> Iterator[str]:
    """A section explains the expected names, no others, in their order."""
    found = entries(split(docstring)[1].get(section, ""))
    for name in expected:
        if name not in found:
            yield f"{section}: nothing about {name}"
    for name in found:
        if name not in expected:
            yield f"{section}: {name} does not exist"
    if sorted(found) == sorted(expected) and found != expected:
        yield f"{section}: not in the order of the signature"


def check_function(function: Any, is_method: bool = False) -> Iterator[str]:
    docstring = inspect.getdoc(function)
    yield from check_text(docstring)
    if not docstring:
        return
    yield from check_names(docstring, "Args", parameters(function, is_method))
    _, sections = split(docstring)
    answer = inspect.signature(function).return_annotation
    is_nothing = answer in (None, NoneType, "None", NoReturn, inspect.Signature.empty)
    if is_nothing and "Returns" in sections:
        yield "Returns: it returns None"
    if not is_nothing and not {"Returns", "Yields"} & set(sections):
        yield f"no section Returns: (it returns {answer})"
    for name in sorted(raised(unwrapped(function)) - set(entries(sections.get("Raises", "")))):
        yield f"Raises: nothing about {name}"


def check_class(kind: type) -> Iterator[str]:
    """Its own docstring, which has the constructor's arguments, or the fields of a record."""
    docstring = inspect.cleandoc(kind.__doc__ or "")
    yield from check_text(docstring)
    if not docstring or issubclass(kind, (BaseException, enum.Enum)):
        return
    if dataclasses.is_dataclass(kind):
        fields = [each.name for each in dataclasses.fields(kind)]
        yield from check_names(docstring, "Attributes", fields)
    elif hasattr(kind, "_fields"):
        yield from check_names(docstring, "Attributes", list(kind._fields))
    elif not NOT_MADE_BY_USERS.search(docstring) and "__init__" in vars(kind):
        yield from check_names(docstring, "Args", parameters(kind.__init__, True))


def methods(kind: type) -> Iterator[tuple[str, Any]]:
    """The public ones that this project defines, by name; properties and class methods, too.

    Methods of Django's or Twisted's classes that are only overridden here are not among them.
    """
    inside = INSIDE.get(kind.__name__, set())
    for name in sorted(dir(kind)):
        owner, *_ = owners = [each for each in kind.__mro__ if name in vars(each)]
        is_ours = all(each.__module__.startswith("cluster") for each in owners)
        if name.startswith("_") or name in inside or not is_ours:
            continue
        found = vars(owner)[name]
        if not dataclasses.is_dataclass(owner) or inspect.isfunction(found):
            yield name, found


def line(found: Any) -> str:
    """Where something is defined: path and line."""
    plain = unwrapped(found)
    path = Path(inspect.getsourcefile(plain) or "").resolve()
    path = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    return f"{path}:{inspect.getsourcelines(plain)[1]}"


def complaints() -> Iterator[tuple[str, str]]:
    """(public name, what is wrong and where) for each thing that is wrong."""
    for module in (cluster, socketio, testing):
        for name in module.__all__:
            found = getattr(module, name)
            if inspect.isclass(found):
                for complaint in check_class(found):
                    yield name, f"{line(found)}: {name}: {complaint}"
                for method, value in methods(found):
                    if isinstance(value, property):
                        value, wrong = value.fget, check_text(inspect.getdoc(value))
                    elif isinstance(value, (classmethod, staticmethod)):
                        is_bound = isinstance(value, classmethod)
                        value = value.__func__
                        wrong = check_function(value, is_bound)
                    elif inspect.isfunction(value):
                        wrong = check_function(value, True)
                    else:
                        continue
                    for complaint in wrong:
                        yield name, f"{line(value)}: {name}.{method}: {complaint}"
            elif callable(found):
                for complaint in check_function(found):
                    yield name, f"{line(found)}: {name}: {complaint}"


class DocstringTests(SynchronousTestCase):
    def setUp(self) -> None:
        load_site()

    def test_public_docstrings(self) -> None:
        wrong = [text for _, text in complaints()]
        self.assertEqual([], wrong, "\n" + "\n".join(wrong))

    def test_contributing_has_the_example(self) -> None:
        """What this module and CONTRIBUTING.md show is one and the same form."""
        self.assertIn("NotRunning: No cluster is running.", (ROOT / "CONTRIBUTING.md").read_text())


class CheckTests(SynchronousTestCase):
    """The checks find what they are for."""

    def test_complete(self) -> None:
        def publish(topic: str, *parts: bytes, timeout: float = 1.0) -> int:
            """Send the parts to a topic.

            Args:
                topic: Its name, which
                    may be long.
                *parts: What is sent.
                timeout: Seconds.

            Returns:
                The number of nodes.

            Raises:
                ValueError: The topic is empty.
            """
            if not topic:
                raise ValueError(topic)
            return 1

        self.assertEqual([], list(check_function(publish)))

    def test_incomplete(self) -> None:
        def publish(topic: str, value: bytes) -> int:
            """Sends it; raises ValueError

            Args:
                value: What is sent.
                other: Nothing.

            Raises:
                ValueErorr: The topic is empty.
            """
            if not topic:
                raise ValueError(topic)
            return 1

        expected = [
            "the first line is no sentence: 'Sends it; raises ValueError'",
            "Raises: there is no exception ValueErorr",
            "Args: nothing about topic",
            "Args: other does not exist",
            "no section Returns: (it returns <class 'int'>)",
            "Raises: nothing about ValueError",
        ]
        self.assertEqual(expected, list(check_function(publish)))

    def test_none(self) -> None:
        def publish() -> None:
            pass

        self.assertEqual(["has no docstring"], list(check_function(publish)))

    def test_records_and_classes(self) -> None:
        @dataclasses.dataclass
        class Receipt:
            """What was sent.

            Attributes:
                nodes: How many.
            """

            nodes: int
            clients: int

        class Client:
            """A client."""

            def __init__(self, url: str) -> None: ...

        class Socket(Client):
            """A socket. You do not create one yourself."""

            def __init__(self, url: str) -> None: ...

        self.assertEqual(["Attributes: nothing about clients"], list(check_class(Receipt)))
        self.assertEqual(["Args: nothing about url"], list(check_class(Client)))
        self.assertEqual([], list(check_class(Socket)))


if __name__ == "__main__":
    load_site()
    for _, complaint in complaints():
        print(complaint)
