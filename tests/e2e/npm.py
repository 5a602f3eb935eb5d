"""Packages of npm for tests: installed into a cache folder, with the versions of a lock file."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest

FILES = ("package.json", "package-lock.json")

UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH", "ECONNRESET")
"""The errors of npm without a network."""


def node() -> str:
    """Return the path of Node. Raises SkipTest, with the reason, if it or npm is not on PATH."""
    found = shutil.which("node")
    if found is None or shutil.which("npm") is None:
        raise SkipTest("Node or npm is not on PATH; on Debian and Ubuntu: apt-get install npm")
    return found


def installed(source: Path) -> Path:
    """Return a folder with the ``node_modules`` of a ``package-lock.json``. Blocks.

    They are installed at the first call, and whenever the lock file has changed.

    Args:
        source: The folder of ``package.json`` and ``package-lock.json``.

    Raises:
        SkipTest: Node or npm is not installed, or the registry cannot be reached.
        AssertionError: npm cannot install the packages.
    """
    node()
    lock = b"".join(source.joinpath(name).read_bytes() for name in FILES)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "c10k-tests"
    folder = cache / f"npm-{hashlib.sha256(lock).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    # Another run may do the same: the first to finish gives the folder its name.
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        made = Path(scratch, "made")
        made.mkdir()
        for name in FILES:
            shutil.copy(source / name, made)
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=made,
            capture_output=True,
            text=True,
        )
        if done.returncode and any(name in done.stderr for name in UNREACHABLE):
            raise SkipTest(f"the npm registry cannot be reached: {done.stderr[-500:]}")
        if done.returncode:
            raise AssertionError(f"npm ci failed in {source}:\n{done.stdout}{done.stderr}")
        if not folder.is_dir():
            made.rename(folder)
    return folder
