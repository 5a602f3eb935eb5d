"""The documentation is correct: commands exist, links have targets, references are complete."""

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from django.core.management.base import BaseCommand
from twisted.python import usage
from twisted.trial.unittest import SkipTest, TestCase

import cluster
from cluster import testing
from cluster.cli import broker_options, options, value_checks
from cluster.django import conf
from cluster.django.management.commands import publish
from cluster.django.revocation.revocable_clients import CLOSE_REVOKED
from cluster.net.websocket import connection
from cluster.supervisor.metrics import exposition

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def documents() -> list[Path]:
    """Yield every page of the documentation."""
    tops = [path for path in ROOT.glob("*.md")]
    return tops + [path for folder in ("docs", "deploy") for path in (ROOT / folder).rglob("*.md")]


def anchors(path: Path) -> set[str]:
    """Return the anchors of headings, as on the common code hosts."""
    text = FENCED.sub("", path.read_text())
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in HEADING.findall(text)
    }


def first_column(text: str) -> dict[str, str]:
    """Read tables whose rows begin with `name`: name -> second cell."""
    rows = re.findall(r"^\| `([^`]+)` \|([^|]*)", text, re.MULTILINE)
    return {name: cell.strip() for name, cell in rows}


def section(path: Path, heading: str) -> str:
    """Return the section of a page under a heading of the second level."""
    parts = re.split(r"^## (.*)$", path.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[heading]


def commands(program: str, page: str = "README.md") -> Iterator[list[str]]:
    """Yield the words after a program's name in a page's shell examples."""
    for language, text in FENCED.findall((ROOT / page).read_text()):
        if language == "sh":
            for line in text.splitlines():
                words = line.partition("#")[0].split()
                if words and words[0] == program:
                    yield words[1:]


def long_options(parser: usage.Options) -> set[str]:
    """Return the long options of a twistd command, without those that every command has."""
    return {option.rstrip("=") for option in parser.longOpt} - {"help", "version"}


class DocumentsTests(TestCase):
    def test_targets_of_links_exist(self) -> None:
        broken = []
        for page in documents():
            for link in LINK.findall(FENCED.sub("", page.read_text())):
                target, _, anchor = link.partition("#")
                if "://" in target or target.startswith("mailto:"):
                    continue
                path = (page.parent / target).resolve() if target else page
                good = path.exists() and path.is_relative_to(ROOT.resolve())
                if good and anchor and path.suffix == ".md":
                    good = anchor in anchors(path)
                if not good:
                    broken.append(f"{page.relative_to(ROOT)}: {link}")
        self.assertEqual([], broken)

    def test_every_page_is_in_the_index(self) -> None:
        index = ROOT / "docs" / "README.md"
        linked = {(index.parent / link).resolve() for link in LINK.findall(index.read_text())}
        pages = {path.resolve() for path in (ROOT / "docs").rglob("*.md")} - {index.resolve()}
        self.assertEqual(set(), pages - linked)

    def test_make_targets_exist(self) -> None:
        makefile = (ROOT / "Makefile").read_text()
        rules = re.findall(r"^([a-z ]+):", makefile, re.MULTILINE)
        targets = {target for rule in rules for target in rule.split()}
        variables = set(re.findall(r"\$\((?:if \$\()?([A-Z]+)\)", makefile))
        named = [*commands("make"), *commands("make", "CONTRIBUTING.md")]
        self.assertTrue(named)
        for words in named:
            for word in words:
                name, is_variable, _ = word.partition("=")
                self.assertIn(name, variables if is_variable else targets, words)

    def test_the_long_options_of_commands_exist(self) -> None:
        known = {"pidfile", "logfile"}
        for parser in (options.Options(), options.NodeOptions(), broker_options.BrokerOptions()):
            known |= long_options(parser)
        for page in documents():
            for words in commands("twistd", str(page.relative_to(ROOT))):
                for word in words:
                    if word.startswith("--"):
                        self.assertIn(word[2:].partition("=")[0], known, page)

    def test_named_settings_exist(self) -> None:
        for page in documents():
            text = page.read_text()
            for name in re.findall(r"C10K\[[\"'](\w+)[\"']\]", text):
                self.assertIn(name, conf.DEFAULTS, page)
            for name in re.findall(r"^ *C10K = \{\"(\w+)\"", text, re.MULTILINE):
                self.assertIn(name, conf.DEFAULTS, page)

    def test_named_metrics_exist(self) -> None:
        known = set(first_column((REFERENCE / "metrics.md").read_text()))
        for page in documents():
            for name in re.findall(r"\bc10k_[a-z_]+", page.read_text()):
                self.assertTrue(name in known or name == "c10k_plugin", f"{page}: {name}")

    def test_javascript_examples_parse(self) -> None:
        node = shutil.which("node")
        if node is None:
            raise SkipTest("node is not installed")
        for page in documents():
            for language, text in FENCED.findall(page.read_text()):
                if language == "js":
                    done = subprocess.run(
                        [node, "--input-type=module", "--check"],
                        input=text,
                        capture_output=True,
                        text=True,
                    )
                    self.assertEqual(0, done.returncode, f"{page}: {done.stderr}")

    def test_named_source_files_exist(self) -> None:
        """Pages name files by their path; files of the library may omit its folder."""
        missing = []
        for page in (ROOT / "docs" / "topics").glob("*.md"):
            for name in re.findall(r"`((?:[\w.]+/)+\w+\.py)`", page.read_text()):
                folders = (ROOT, ROOT / "cluster", ROOT / "workers")
                if not any((folder / name).exists() for folder in folders):
                    missing.append(f"{page.name}: {name}")
        self.assertEqual([], missing)

    def test_named_benchmarks_exist(self) -> None:
        for page in documents():
            for name in re.findall(r"python -m benchmarks\.(\w+)", page.read_text()):
                found = [
                    ROOT / "benchmarks" / f"{name}.py",
                    ROOT / "benchmarks" / name / "__main__.py",
                ]
                self.assertTrue(any(path.exists() for path in found), f"{page}: {name}")

    def test_python_examples_compile(self) -> None:
        for page in documents():
            for language, text in FENCED.findall(page.read_text()):
                if language == "python":
                    # Some examples show the body of a coroutine.
                    compile(text, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    def test_examples_import_what_the_cluster_offers(self) -> None:
        for page in documents():
            imports = re.findall(r"^from cluster(\.testing)? import (.*)$", page.read_text(), re.M)
            for inner, names in imports:
                module = testing if inner else cluster
                for name in names.split(","):
                    self.assertTrue(hasattr(module, name.strip()), f"{page}: {name}")


class ReferenceTests(TestCase):
    """The tables of docs/reference have each existing name, no other name, and the defaults."""

    def assert_options(self, command: str, parser: usage.Options) -> None:
        table = first_column(section(REFERENCE / "options.md", f"`twistd {command}`"))
        self.assertEqual({f"--{name}" for name in long_options(parser)}, set(table))
        for name, default in parser.defaults.items():
            if name in value_checks.SETTING_OF:
                value = conf.DEFAULTS[value_checks.SETTING_OF[name]]
                said = {None: "one for each core", (): "none"}.get(value, f"`{value or 0:.0f}`")
                expected = f'`C10K["{value_checks.SETTING_OF[name]}"]`, or {said}'
            elif default is not None:
                expected = f"`{default}`" if isinstance(default, str) else "off"
            else:
                continue
            self.assertEqual(expected, table[f"--{name}"], name)

    def test_options_of_the_cluster(self) -> None:
        self.assert_options("c10k", options.Options())

    def test_options_of_a_node(self) -> None:
        self.assert_options("c10k-node", options.NodeOptions())

    def test_options_of_a_broker(self) -> None:
        self.assert_options("c10k-broker", broker_options.BrokerOptions())

    def test_environment_of_the_demo_project(self) -> None:
        source = "".join(path.read_text() for path in (ROOT / "django_project").glob("*.py"))
        named = set(re.findall(r"\b(?:C10K|DJANGO)_[A-Z_]+\b", source))
        page = section(REFERENCE / "options.md", "Environment of the demo project")
        self.assertEqual(named - {"DJANGO_SETTINGS_MODULE"}, set(first_column(page)))

    def test_settings(self) -> None:
        table = first_column((REFERENCE / "settings.md").read_text())
        self.assertEqual({key: f"`{value!r}`" for key, value in conf.DEFAULTS.items()}, table)

    def test_system_checks(self) -> None:
        folder = ROOT / "cluster" / "django"
        source = "".join(path.read_text() for path in folder.rglob("*_checks.py"))
        ids = set(re.findall(r"c10k\.[EW]\d{3}", source))
        self.assertTrue(ids)
        page = section(REFERENCE / "commands.md", "System checks")
        self.assertEqual(ids, set(first_column(page)))

    def test_options_of_publish(self) -> None:
        parser = publish.Command().create_parser("manage.py", "publish")
        ours = parser.parse_args(["topic", "-"])
        django = BaseCommand().create_parser("manage.py", "publish").parse_args([])
        options = {name for name in vars(ours) if not hasattr(django, name)} - {"topic", "message"}
        page = section(REFERENCE / "commands.md", "`manage.py publish TOPIC MESSAGE`")
        table = {name.split()[0] for name in first_column(page)}
        self.assertEqual({f"--{name}" for name in options}, table - {"-"})

    def test_metrics(self) -> None:
        text = exposition({}, {}).decode()
        metrics = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
        table = first_column((REFERENCE / "metrics.md").read_text())
        named = {name: kind for name, kind in table.items() if name.startswith("c10k_")}
        self.assertEqual(metrics, named)

    def test_reasons_of_dropped_messages(self) -> None:
        source = "".join(path.read_text() for path in (ROOT / "cluster").rglob("*.py"))
        reasons = set(re.findall(r'dropped\["(\w+)"\] [+=]', source))
        reasons |= set(re.findall(r'(?:\.drop|_refuse_retained)\([^)]*"(\w+)"\)', source))
        reasons |= set(re.findall(r'\.count\(\s*"(\w+)"', source))
        reasons |= set(re.findall(r'^[A-Z]+ = "(channel_\w+)"', source, re.MULTILINE))
        page = section(REFERENCE / "metrics.md", "Why messages are dropped")
        named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", page, re.MULTILINE)))
        self.assertEqual(reasons, set(named))

    def test_close_codes(self) -> None:
        """The codes that a connection may send and our own ones, and no others."""
        text = (REFERENCE / "close-codes.md").read_text()
        codes = {int(code) for code in re.findall(r"^\| (\d{4}) \|", text, re.MULTILINE)}
        # Only clients send 1010.
        self.assertEqual(set(connection.SENDABLE_CODES) - {1010} | {CLOSE_REVOKED}, codes)


class ContributorTests(TestCase):
    """Pages for contributors agree with the repository."""

    def test_the_workflow_runs_the_script_and_nothing_else(self) -> None:
        workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
        self.assertEqual([".ci/run"], re.findall(r"\brun: (.*)$", workflow, re.MULTILINE))

    def test_the_makefile_describes_its_targets(self) -> None:
        makefile = (ROOT / "Makefile").read_text()
        described = set(re.findall(r"^#   make ([a-z-]+)", makefile, re.MULTILINE))
        phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
        assert phony is not None
        self.assertEqual(set(phony[1].split()), described)

    def test_named_tests_and_benchmarks_exist(self) -> None:
        page = "CONTRIBUTING.md"
        names = [words[-1] for words in commands("trial", page)]
        modules = [words[1] for words in commands("python", page) if words[0] == "-m"]
        names += [name for name in modules if name.startswith("benchmarks.")]
        self.assertTrue(names)
        for name in names:
            parts = [part for part in name.split(".") if part.islower()]
            path = ROOT.joinpath(*parts)
            self.assertTrue(path.is_dir() or path.with_suffix(".py").is_file(), name)

    def test_named_files_and_folders_exist(self) -> None:
        text = (ROOT / "CONTRIBUTING.md").read_text()
        tops = "|".join(re.escape(path.name) for path in ROOT.iterdir() if path.is_dir())
        for name in re.findall(rf"`((?:{tops})(?:/[\w./-]*)?)`", text):
            self.assertTrue((ROOT / name).exists(), name)


class EnvironmentTests(TestCase):
    """`make` and the contributor's set-up use the same folder .venv."""

    def commands(self, environment: str | None) -> str:
        """Return the commands of make for Python 3.11 if .venv has this version, or does not
        exist."""
        folder = Path(self.mktemp())
        (folder / ".venv" / "bin").mkdir(parents=True)
        shutil.copy(ROOT / "Makefile", folder)
        (folder / "pyproject.toml").touch()
        (folder / "setup.py").touch()
        (folder / "requirements").mkdir()
        (folder / "requirements" / "demo.txt").touch()
        interpreters = {"python3": "3.11"}
        if environment is not None:
            interpreters[".venv/bin/python"] = environment
        for name, version in interpreters.items():
            (folder / name).write_text(
                f'#!/bin/sh\necho "$@" >> "{folder.absolute()}/log"\necho {version}\n'
            )
            (folder / name).chmod(0o755)
        command = ["make", "--silent", f"PYTHON={folder.absolute()}/python3", ".venv/.installed"]
        subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return (folder / "log").read_text()

    def test_an_environment_of_the_same_python_is_kept(self) -> None:
        ran = self.commands("3.11")
        self.assertNotIn("-m venv", ran)
        self.assertIn("-m pip install", ran)

    def test_a_missing_environment_or_one_of_another_python_is_created(self) -> None:
        for environment in (None, "3.12"):
            self.assertIn("-m venv --clear .venv", self.commands(environment))


class CleanTests(TestCase):
    def test_make_clean_leaves_the_source_alone_and_nothing_else(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        shutil.copy(ROOT / "Makefile", folder)
        made = [".venv/bin/python", ".tox/log", ".coverage", ".mypy_cache/a", ".ruff_cache/a"]
        made += [".hypothesis/a", "_trial_temp-1/test.log", "build/a", "dist/a", "site/a"]
        made += [
            "django_c10k.egg-info/a",
            "a/__pycache__/a.pyc",
            "twistd_plugins/twisted/plugins/dropin.cache",
        ]
        source = ["a/a.py", "twistd_plugins/twisted/plugins/a.py"]
        for name in made + source:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        subprocess.run(["make", "--silent", "clean"], cwd=folder, check=True)
        left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        self.assertEqual(left, {"Makefile", *source})
