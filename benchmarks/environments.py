"""Finds or creates environments of Python and Node with the competitors' libraries.

New environments are created in a cache folder, and later runs use them again. Nothing is installed
into the environment that runs the benchmark.
"""

import argparse
import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.servers import Failed

DEFAULT_CACHE = Path("~/.cache/c10k-benchmarks")

REQUIREMENTS: Mapping[str, Sequence[str]] = {
    "autobahn": ("autobahn", "twisted"),
    "websockets": ("websockets", "uvloop"),
    "picows": ("picows", "uvloop"),
    "channels": ("channels", "channels-redis", "daphne", "uvicorn[standard]"),
    "socketio": ("python-socketio", "redis[hiredis]", "uvicorn[standard]"),
    "http": ("gunicorn", "uvicorn[standard]", "daphne", "Django<6.1", "whitenoise"),
}
"""Competitor -> the requirements that pip installs for it."""

REPORTED: Mapping[str, Sequence[str]] = {
    "autobahn": ("autobahn", "twisted"),
    "websockets": ("websockets", "uvloop"),
    "picows": ("picows", "aiofastnet", "uvloop"),
    "channels": (
        *("channels", "channels-redis", "daphne", "uvicorn", "uvloop", "httptools", "websockets"),
        *("redis", "Django", "twisted", "autobahn"),
    ),
    "http": ("gunicorn", "uvicorn", "uvloop", "httptools", "daphne", "Django", "whitenoise"),
    "socketio": (
        *("python-socketio", "python-engineio", "redis", "hiredis", "uvicorn", "uvloop"),
        *("httptools", "websockets"),
    ),
}

NODE_PACKAGES: Mapping[str, Mapping[str, str]] = {
    "socketio_reference": {
        "socket.io": "4.8.4",
        "@socket.io/cluster-adapter": "0.3.0",
        "bufferutil": "4.1.0",  # optional; its documentation recommends it
    },
}
"""Competitor -> the packages that npm installs for it, and their versions."""


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add --cache, which `python_for` uses."""
    parser.add_argument(
        "--cache",
        type=Path,
        default=DEFAULT_CACHE,
        metavar="DIR",
        help=f"folder of the competitors' environments ({DEFAULT_CACHE})",
    )


def python_for(name: str, cache: Path) -> str:
    """Return the path of a Python that can import the libraries of `name`.

    Raises Failed if pip cannot install them. The first call takes as long as pip does.
    """
    requirements = REQUIREMENTS[name]
    if all(_installed(requirement) for requirement in requirements):
        return sys.executable
    folder = cache.expanduser().resolve() / f"{name}-{sys.version_info[0]}.{sys.version_info[1]}"
    python, done = folder / "bin" / "python", folder / "installed.json"
    if not (done.is_file() and json.loads(done.read_text()) == list(requirements)):
        print(f"installing {', '.join(requirements)} into {folder}", file=sys.stderr, flush=True)
        try:
            venv.create(folder, clear=True, with_pip=True)
            install = [python, "-m", "pip", "install", "-q", *requirements]
            subprocess.run(install, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or ""
            raise Failed(f"{name} could not be installed into {folder}: {error}\n{said}") from error
        done.write_text(json.dumps(list(requirements)))
    return str(python)


def versions(name: str, python: str) -> dict[str, str]:
    """Return the versions of a competitor's libraries in a Python environment."""
    script = (
        "import json, sys\nfrom importlib.metadata import version\n"
        "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
    )
    said = subprocess.run(
        [python, "-c", script, *REPORTED[name]], check=True, capture_output=True, text=True
    )
    return dict(json.loads(said.stdout))


def node_modules_for(name: str, cache: Path) -> Path:
    """Return a folder with the `node_modules` of `name`.

    Raises Failed if Node is not installed, or npm cannot install them. The first call takes as long
    as npm does.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise Failed(
                f"no {program} on PATH, which {name} needs; on Debian and Ubuntu: apt-get install"
                " nodejs npm. Without it: --only cluster"
            )
    packages = dict(NODE_PACKAGES[name])
    folder = cache.expanduser().resolve() / f"{name}-node"
    done = folder / "installed.json"
    if not (done.is_file() and json.loads(done.read_text()) == packages):
        words = [f"{package}@{version}" for package, version in packages.items()]
        print(f"installing {', '.join(words)} into {folder}", file=sys.stderr, flush=True)
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            (folder / "package.json").write_text('{"private": true}\n')
            install = ["npm", "install", "--no-audit", "--no-fund", "--save-exact", *words]
            subprocess.run(install, cwd=folder, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", None) or ""
            raise Failed(f"{name} could not be installed into {folder}: {error}\n{said}") from error
        done.write_text(json.dumps(packages))
    return folder


def node_versions(name: str) -> dict[str, str]:
    """Return the versions of Node and of a competitor's packages."""
    said = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True)
    return {"Node": said.stdout.strip().lstrip("v"), **NODE_PACKAGES[name]}


def _installed(requirement: str) -> bool:
    try:
        version(requirement.partition("[")[0])
    except PackageNotFoundError:
        return False
    return True
