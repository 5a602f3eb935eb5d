"""The floors of the project: a module imports only from lower floors.

The imports are read from the source with ast, including those inside functions and under
TYPE_CHECKING: an import that is not always executed is a dependency, too.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import TestCase

from tests.once import once

ROOT = Path(__file__).parent.parent

STDLIB = "stdlib"
"""Stands for the whole standard library."""

ANY = "anything"
"""Stands for every library that is not ours."""


@dataclass(frozen=True)
class Floor:
    """`modules` may import the `below` floors, their own, and the `libraries` named."""

    name: str
    modules: tuple[str, ...]
    below: tuple[str, ...] = ()
    libraries: tuple[str, ...] = (STDLIB, ANY)


# A module belongs to the floor with the longest prefix that fits its name.
FLOORS = (
    Floor("core", ("cluster.core",), (), (STDLIB,)),
    Floor("logs", ("cluster.logs",), ("core",)),
    Floor("net", ("cluster.net",), ("core", "logs")),
    Floor("pubsub", ("cluster.pubsub",), ("core", "logs", "net")),
    # The broker's connections to other machines; nodes do not know them.
    Floor("uplink", ("cluster.uplink",), ("core", "logs", "net")),
    Floor("django", ("cluster.django",), ("core", "logs", "net", "uplink")),
    Floor("asgi", ("cluster.asgi",), ("core", "logs", "net", "django")),
    # The channel layer for Channels, which applications name in their settings.
    Floor("channels", ("cluster.channels",), ("core", "logs", "net", "django")),
    # For applications of python-socketio; nothing else imports it.
    Floor("python_socketio", ("cluster.python_socketio",), ("core", "logs", "net", "django")),
    # The Socket.IO server.
    Floor("socketio", ("cluster.socketio",), ("core", "logs", "net", "django")),
    Floor(
        "node",
        ("cluster.node", "cluster.broker"),
        ("core", "logs", "net", "pubsub", "uplink", "django", "asgi", "socketio"),
    ),
    # Messages reach nodes and the broker only through their control connections.
    Floor("supervisor", ("cluster.supervisor",), ("core", "logs", "net")),
    Floor(
        "cli",
        ("cluster.cli", "cluster.__main__"),
        (
            "core",
            "logs",
            "net",
            "pubsub",
            "uplink",
            "django",
            "asgi",
            "socketio",
            "node",
            "supervisor",
        ),
    ),
    # For tests of applications: a node in memory, in the process of the test.
    Floor(
        "testing",
        ("cluster.testing",),
        ("core", "logs", "net", "pubsub", "django", "asgi", "socketio", "node", "public"),
    ),
    Floor(
        "management",
        ("cluster.django.management",),
        ("core", "net", "pubsub", "django", "node", "supervisor", "cli", "testing", "public"),
    ),
    Floor("plugin", ("twistd_plugins",), (), (STDLIB, "twisted")),
    # The package itself: what applications import.
    Floor("public", ("cluster",), ("core", "net", "pubsub", "django", "asgi")),
    Floor("applications", ("django_project",), ("public",)),
    Floor("workers", ("workers",), ()),
    Floor(
        "manage",
        ("django_project.echo.management", "django_project.gameoflife.management"),
        ("public", "applications", "workers"),
    ),
)

PUBLIC_PACKAGES = {"cluster.asgi", "cluster.socketio"}
"""Packages whose ``__init__`` offers names to applications, as ``cluster`` itself does."""

COMPOSITION_ROOTS = {
    "cluster.cli.asyncio_reactor",
    "cluster.cli.child_main",
    "cluster.cli.process_setup",
    "cluster.cli.runserver",
    "cluster.cli.services",
    "workers.processes.process_setup",
}
"""Only these modules choose or import the global reactor; all others receive it as an argument."""

MAX_MODULES = 14
"""Modules directly in a folder, without `__init__`. A folder with more has more than one
subject."""

NO_CLOCK = {"time", "datetime", "asyncio", "threading", "socket", "select", "selectors", "random"}
"""Modules of the standard library that the core must not use: callers pass the time and the
data."""

OURS = ("cluster", "django_project", "workers", "tests", "benchmarks")


class Import(NamedTuple):
    """Our module `module` imports `name` at `line`."""

    module: str
    name: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}, line {self.line}: imports {self.name}"


@cache
def sources() -> dict[str, Path]:
    """Every module of the product by its dotted name."""
    found = {}
    for folder in ("cluster", "django_project", "workers", "twistd_plugins"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(module: str, path: Path) -> Iterator[Import]:
    """Yield a module's imports: for `from a import b`, `a.b` if that is our module, else `a`."""
    modules = sources()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            package = node.module or ""
            if node.level:
                base = module.split(".")
                if path.name != "__init__.py":
                    base = base[:-1]
                base = base[: len(base) - node.level + 1]
                package = ".".join([*base, package] if package else base)
            for alias in node.names:
                inner = f"{package}.{alias.name}"
                is_reactor = inner == "twisted.internet.reactor"
                yield Import(
                    module, inner if inner in modules or is_reactor else package, node.lineno
                )


def floor_of(module: str) -> Floor | None:
    """Return the floor of our module."""
    fitting = [
        (len(prefix), floor)
        for floor in FLOORS
        for prefix in floor.modules
        if module == prefix or module.startswith(f"{prefix}.")
    ]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None


def forbidden(found: Import) -> str | None:
    """Return why an import violates the rules; None if it does not."""
    floor = floor_of(found.module)
    assert floor is not None
    top = found.name.partition(".")[0]
    if found.name in PUBLIC_PACKAGES and "public" in floor.below:
        return None
    if top in OURS:
        target = floor_of(found.name)
        if target is None:
            return f"{found}, which the product must not need"
        if target is floor or target.name in floor.below:
            return None
        return f"{found}, but {floor.name} must not know {target.name}"
    if top in sys.stdlib_module_names:
        if floor.name == "core" and top in NO_CLOCK:
            return f"{found}, but callers pass the core the time, and it does no I/O"
        return None if STDLIB in floor.libraries else f"{found}, but {floor.name} must not"
    if ANY in floor.libraries or top in floor.libraries:
        return None
    return f"{found}, but {floor.name} must not"


def cycles(found: list[Import]) -> list[set[str]]:
    """Return the groups of modules that import each other, directly or through other modules."""
    modules = sources()
    targets: dict[str, set[str]] = {module: set() for module in modules}
    for each in found:
        # `import a.b` runs a/__init__.py too, but our packages import nothing of their own.
        if each.name in modules:
            targets[each.module].add(each.name)

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for target in targets[waiting.pop()] - seen:
                seen.add(target)
                waiting.append(target)
        return seen

    reach = {module: reachable(module) for module in modules}
    groups: list[set[str]] = []
    for module in modules:
        if module in reach[module] and not any(module in group for group in groups):
            groups.append({other for other in reach[module] if module in reach[other]})
    return groups


@cache
def all_imports() -> list[Import]:
    """Return what all modules of the product import."""
    return [found for module, path in sources().items() for found in imports(module, path)]


@once
class FloorsTests(TestCase):
    def setUp(self) -> None:
        self.imports = all_imports()

    def test_every_module_is_on_one_floor(self) -> None:
        """Add a new module of the cluster to the table above."""
        placed = {prefix for floor in FLOORS for prefix in floor.modules}
        homeless = [
            module
            for module in sources()
            if floor_of(module) is None
            or (module.count(".") == 1 and module.startswith("cluster.") and module not in placed)
        ]
        self.assertEqual([], homeless)

    def test_the_table_names_what_exists(self) -> None:
        modules = set(sources())
        named = {prefix for floor in FLOORS for prefix in floor.modules} | COMPOSITION_ROOTS
        packages = {name.rpartition(".")[0] for name in modules} | {
            name.partition(".")[0] for name in modules
        }
        self.assertEqual(set(), named - modules - packages)

    def test_imports_go_down(self) -> None:
        self.assertEqual([], [reason for each in self.imports if (reason := forbidden(each))])

    def test_no_module_imports_itself_through_others(self) -> None:
        self.assertEqual([], cycles(self.imports))

    def test_no_folder_has_too_many_modules(self) -> None:
        crowded = {}
        for top in ("cluster", "workers"):
            for folder in [ROOT / top, *(ROOT / top).rglob("*/")]:
                modules = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
                if len(modules) > MAX_MODULES:
                    crowded[str(folder.relative_to(ROOT))] = len(modules)
        self.assertEqual({}, crowded)

    def test_the_docstring_of_a_package_names_its_modules(self) -> None:
        missing = {}
        for package in (ROOT / "cluster").rglob("__init__.py"):
            docstring = ast.get_docstring(ast.parse(package.read_text()))
            modules = {path.stem for path in package.parent.glob("*.py")}
            modules |= {path.parent.name for path in package.parent.glob("*/__init__.py")}
            unnamed = modules - {"__init__", "__main__", *re.findall(r"\w+", docstring or "")}
            if docstring and unnamed:  # Django's folders of commands and migrations have none
                missing[str(package.parent.relative_to(ROOT))] = unnamed
        self.assertEqual({}, missing)

    def test_the_architecture_names_every_package(self) -> None:
        page = (ROOT / "docs" / "topics" / "architecture.md").read_text()
        packages = {path.parent.name for path in (ROOT / "cluster").glob("*/__init__.py")}
        self.assertEqual(set(re.findall(r"^\| \d \| `(\w+)/`", page, re.MULTILINE)), packages)

    def test_only_composition_roots_import_a_reactor(self) -> None:
        reactors = [
            str(each)
            for each in self.imports
            if each.name.startswith("twisted.internet.")
            and each.name.endswith("reactor")
            and each.module not in COMPOSITION_ROOTS
        ]
        self.assertEqual([], reactors)

    def test_no_module_of_the_cluster_uses_the_game_of_life(self) -> None:
        """Only applications and the swarm use it."""
        words = ("gameoflife", "Game of Life", "neighbour")
        knowing = [
            f"{module}: {word}"
            for module, path in sources().items()
            if module.partition(".")[0] == "cluster"
            for word in words
            if word in path.read_text()
        ]
        self.assertEqual([], knowing)


class RulesTests(TestCase):
    """The rules themselves: an import that violates one is found."""

    def check(self, module: str, name: str) -> str | None:
        return forbidden(Import(module, name, 1))

    def test_core_has_only_the_standard_library(self) -> None:
        self.assertIsNone(self.check("cluster.core.wire", "struct"))
        for name in (
            "twisted.internet",
            "zmq",
            "django.conf",
            "time",
            "socket",
            "cluster.net.websocket.connection",
        ):
            self.assertIsNotNone(self.check("cluster.core.wire", name), name)

    def test_upwards_is_forbidden(self) -> None:
        self.assertIsNotNone(
            self.check("cluster.net.websocket.connection", "cluster.pubsub.zmq_bus")
        )
        self.assertIsNotNone(
            self.check("cluster.pubsub.zmq_bus", "cluster.django.handlers.handler_decorator")
        )
        self.assertIsNotNone(self.check("cluster.node.node", "cluster.cli.services"))
        self.assertIsNone(self.check("cluster.cli.services", "cluster.node.node"))

    def test_applications_use_public_names(self) -> None:
        self.assertIsNone(self.check("django_project.gameoflife.handlers", "cluster"))
        self.assertIsNotNone(
            self.check("django_project.gameoflife.handlers", "cluster.net.websocket.connection")
        )

    def test_workers_import_nothing_of_the_cluster(self) -> None:
        for name in ("cluster", "cluster.net.websocket.connection", "django_project.settings"):
            self.assertIsNotNone(self.check("workers.life.rules", name), name)

    def test_relative_and_local_imports_are_found(self) -> None:
        path = Path(self.mktemp())
        path.write_text(
            "def f():\n    from ..net.websocket import connection\n    from . import wire\n"
        )
        found = {each.name for each in imports("cluster.core.routing", path)}
        self.assertEqual({"cluster.net.websocket.connection", "cluster.core.wire"}, found)
