"""Installing c10k: from a wheel, with `pip install -e .`, and from a bare checkout.

Each way is tried in a virtual environment outside the checkout that holds c10k's dependencies and
nothing else, so a dependency that is missing from the metadata is missed here too. The package
index (or a pip cache and links to local wheels) is needed.
"""

import atexit
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from twisted.trial.unittest import TestCase

from tests.once import once

ROOT = Path(__file__).parent.parent
IGNORED = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
NOT_SOURCE = shutil.ignore_patterns(".git", *IGNORED)
PLUGINS = ("c10k", "c10k-node", "c10k-broker")
READY = re.compile(r"c10k ready: (http\S+?/)[ ,]")
START_SECONDS = 180.0
END_SECONDS = 90.0


@functools.cache
def workshop() -> Path:
    """Return a folder for results that are slow to create, kept until this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="c10k-packaging-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def checkout() -> Path:
    """Return a copy of the source: building leaves files, and old ones would be in the wheel."""
    return Path(shutil.copytree(ROOT, workshop() / "checkout", ignore=NOT_SOURCE))


@functools.cache
def wheel() -> Path:
    """Build the wheel of this source."""
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", str(workshop()), str(checkout()))
    return next(workshop().glob("django_c10k-*.whl"))


@functools.cache
def sdist() -> Path:
    """Build the source distribution of this source."""
    run([sys.executable, "-m", "build", "--sdist", "--outdir", str(workshop()), str(checkout())])
    return next(workshop().glob("django_c10k-*.tar.gz"))


@functools.cache
def environment() -> Path:
    """Return the `bin` folder of an environment in which the wheel is installed, as by users."""
    folder = workshop() / "venv"
    run([sys.executable, "-m", "venv", str(folder)])
    pip(str(folder / "bin" / "python"), "install", str(wheel()))
    return folder / "bin"


def clean_environ(extra: Mapping[str, str]) -> dict[str, str]:
    """Return our environment variables without those that point to this checkout or a project."""
    ours = ("PYTHONPATH", "VIRTUAL_ENV", "DJANGO_SETTINGS_MODULE", "COVERAGE_PROCESS_START")
    environ = {name: value for name, value in os.environ.items() if name not in ours}
    return {**environ, **extra}


def run(
    command: list[str], cwd: Path | None = None, environ: Mapping[str, str] | None = None
) -> str:
    """Run a command; returns its output, and fails the test if the command fails."""
    done = subprocess.run(
        command,
        cwd=cwd or workshop(),
        env=clean_environ(environ or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1800,
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}")
    return done.stdout


def pip(python: str, *arguments: str) -> None:
    run([python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments])


@contextmanager
def serving(command: list[str], cwd: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """Run a cluster; yields its URL, and checks that no process is left."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=clean_environ(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    assert process.stdout is not None
    too_late = threading.Timer(START_SECONDS, process.kill)
    too_late.start()
    printed = []
    try:
        for line in process.stdout:
            printed.append(line)
            if match := READY.search(line):
                break
        else:
            raise AssertionError(f"never ready:\n{''.join(printed)}")
        too_late.cancel()
        drain = threading.Thread(target=process.stdout.read, daemon=True)
        drain.start()
        yield match[1]
    finally:
        too_late.cancel()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    drain.join(END_SECONDS)
    process.stdout.close()


@once
class PackagingTests(TestCase):
    """Slow: a minute for all tests, with a warm pip cache."""

    timeout = 3600

    def install(self, *arguments: str) -> None:
        """Replace the c10k in the environment; with no arguments, leave none."""
        python = str(environment() / "python")
        pip(python, "uninstall", "--yes", "django-c10k")
        if arguments:
            pip(python, "install", "--no-deps", *arguments)

    def assert_works(self, environ: Mapping[str, str] | None = None) -> None:
        """The plugins are found, their options shown, and a cluster serves its page."""
        environ = environ or {}
        empty = Path(tempfile.mkdtemp(dir=workshop()))
        home = Path(tempfile.mkdtemp(dir=workshop()))
        environ = {**environ, "HOME": str(home)}
        twistd = str(environment() / "twistd")
        listed = run([twistd, "--help"], empty, environ)
        self.assertNotIn("Traceback", listed)
        for name in PLUGINS:
            self.assertRegex(listed, rf"(?m)^ +{name} +\S")
            self.assertIn("--", run([twistd, name, "--help"], empty, environ))
        command = [twistd, "-n", "--pidfile=", "c10k", "--nodes", "2", "--listen", "tcp:0"]
        with serving(command, empty, environ) as url, urlopen(url, timeout=60) as answer:
            self.assertEqual(200, answer.status)
            self.assertIn(b"<canvas", answer.read())
        self.assertEqual([], list(empty.iterdir()))

    def test_wheel_has_all_files(self) -> None:
        """It has all files of the packages and the plugin, but no tests."""
        names = set(zipfile.ZipFile(wheel()).namelist())
        for folder in ("cluster", "django_project", "workers"):
            for path in (checkout() / folder).rglob("*"):
                if path.is_file() and path.suffix != ".pyc":
                    self.assertIn(str(path.relative_to(checkout())), names)
        self.assertIn("twisted/plugins/c10k_plugin.py", names)
        self.assertNotIn("twisted/__init__.py", names)
        self.assertNotIn("twisted/plugins/__init__.py", names)
        self.assertEqual(set(), {name for name in names if name.startswith(("tests", "docs"))})

    def test_sdist_has_all_files(self) -> None:
        """The sdist is enough to run the tests, the demo and the benchmarks."""
        with tarfile.open(sdist()) as archive:
            names = {member.name.partition("/")[2] for member in archive if member.isfile()}
        # Use another copy, because building has left files in the first one.
        source = Path(shutil.copytree(ROOT, self.mktemp(), ignore=NOT_SOURCE))
        files = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
        self.assertEqual(set(), files - names)

    def test_wheel_from_the_sdist_has_the_same_files(self) -> None:
        folder = Path(tempfile.mkdtemp(dir=workshop()))
        pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", str(folder), str(sdist()))
        again = next(folder.glob("*.whl"))
        self.assertEqual(wheel().name, again.name)
        self.assertEqual(*(sorted(zipfile.ZipFile(path).namelist()) for path in (wheel(), again)))

    def test_wheel(self) -> None:
        self.install(str(wheel()))
        self.assert_works()
        version = run([str(environment() / "twistd"), "c10k", "--version"])
        self.assertRegex(version, r"^c10k \d+\.\d+")
        with self.assertRaises(AssertionError) as failed:
            run([str(environment() / "swarm"), "life", "--help"])
        self.assertIn("status 1\nswarm: the load tool is not installed: pip", str(failed.exception))
        pip(str(environment() / "python"), "install", f"{wheel()}[swarm]")
        swarm = run([str(environment() / "swarm"), "life", "--help"])
        self.assertIn("--verify", swarm)
        run([str(environment() / "python"), "-m", "pip", "check"])

    def test_editable(self) -> None:
        self.install("--editable", str(checkout()))
        self.assert_works()

    def test_checkout(self) -> None:
        """Nothing is installed; two folders are on PYTHONPATH."""
        self.install()
        folders = [str(checkout()), str(checkout() / "twistd_plugins")]
        self.assert_works({"PYTHONPATH": os.pathsep.join(folders)})
