"""The lock files in requirements/ satisfy pyproject.toml, and each file in them has a hash."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from twisted.trial.unittest import TestCase

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
VERSIONS = ("3.11", "3.12", "3.13", "3.14")

LOCKED = re.compile(r"^([^\s#-].*?) \\\n((?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.M)


def locked(name: str) -> list[Requirement]:
    """The requirements of a lock file that have hashes."""
    text = (FOLDER / name).read_text()
    return [Requirement(match[1]) for match in LOCKED.finditer(text)]


def environment(version: str) -> Mapping[str, str]:
    """Linux with CPython of a version, as markers see it."""
    return {
        "python_version": version,
        "python_full_version": f"{version}.9",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "sys_platform": "linux",
        "os_name": "posix",
        "extra": "",
    }


def wanted(texts: list[str]) -> Iterator[Requirement]:
    """Requirements, with those of extras of c10k itself."""
    for text in texts:
        requirement = Requirement(text)
        if requirement.name == PROJECT["project"]["name"]:
            for extra in requirement.extras:
                yield from wanted(EXTRAS[extra])
        else:
            yield requirement


class LockTests(TestCase):
    def assert_satisfied(self, texts: list[str], *names: str) -> None:
        everything = [requirement for name in names for requirement in locked(name)]
        for version in VERSIONS:
            machine = dict(environment(version))
            pins = {
                canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
                for pin in everything
                if pin.marker is None or pin.marker.evaluate(machine)
            }
            for requirement in wanted(texts):
                if requirement.marker is None or requirement.marker.evaluate(machine):
                    pin = pins.get(canonicalize_name(requirement.name))
                    self.assertIsNotNone(pin, f"{names} have no {requirement.name}: make lock")
                    self.assertIn(
                        pin, requirement.specifier, f"{requirement} on {version}: make lock"
                    )

    def test_every_requirement_has_a_hash(self) -> None:
        for path in FOLDER.glob("*.txt"):
            lines = path.read_text().splitlines()
            names = [line for line in lines if line and line[0] not in " #"]
            self.assertEqual(len(names), len(locked(path.name)), path)
            for requirement in locked(path.name):
                self.assertRegex(str(requirement.specifier), r"^==[\w.]+$")

    def test_the_demo_and_ci_have_what_the_project_needs(self) -> None:
        base, build = PROJECT["project"]["dependencies"], PROJECT["build-system"]["requires"]
        demo = [*base, *build, *EXTRAS["uvloop"], *EXTRAS["redis"], *EXTRAS["swarm"]]
        self.assert_satisfied(demo, "demo.txt")
        ci = [*base, *build, *EXTRAS["uvloop"], *EXTRAS["test"], *EXTRAS["types"]]
        self.assert_satisfied(ci, "ci.txt")
        self.assert_satisfied([*EXTRAS["docs"], *EXTRAS["lint"]], "tools.txt")
        self.assert_satisfied(build, "build.txt")

    def test_the_inputs_are_locked(self) -> None:
        for path in FOLDER.glob("*.in"):
            lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
            self.assert_satisfied(lines, f"{path.stem}.txt")

    def test_the_files_agree(self) -> None:
        pins: dict[tuple[str, str], str] = {}
        for path in FOLDER.glob("*.txt"):
            for version in VERSIONS:
                for pin in locked(path.name):
                    if pin.marker is None or pin.marker.evaluate(dict(environment(version))):
                        key = (canonicalize_name(pin.name), version)
                        self.assertEqual(pins.setdefault(key, str(pin.specifier)),
                                         str(pin.specifier), f"{path}: {pin.name}")  # fmt: skip

    def test_the_server_does_not_need_the_load_tool(self) -> None:
        names = {Requirement(text).name for text in PROJECT["project"]["dependencies"]}
        self.assertEqual(names & {Requirement(text).name for text in EXTRAS["swarm"]}, set())
