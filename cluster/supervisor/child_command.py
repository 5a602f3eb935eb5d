"""The command line and the environment of the child processes."""

import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.utils import getProcessOutputAndValue


def child_environment(environ: Mapping[str, str], path: Iterable[str]) -> dict[str, str]:
    """Return the environment for children: this process's, with its import path as PYTHONPATH.

    The interpreter's own folders are left out: programs that a view starts inherit the variable,
    and may run on another version of Python.
    """
    own = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), *site.getsitepackages()}
    entries = [os.path.abspath(entry) for entry in path]
    kept = [
        entry
        for entry in dict.fromkeys(entries)
        if entry not in own and not entry.endswith(("lib-dynload", ".zip"))
    ]
    # Unbuffered, so that each line is logged at once, rather than when 8 KB are complete.
    return {**environ, "PYTHONPATH": os.pathsep.join(kept), "PYTHONUNBUFFERED": "1"}


def child_command(*arguments: str) -> list[str]:
    """Return the command line of ``cluster.cli.child_main`` under this interpreter.

    With -P modules in the working directory do not hide installed ones. If the directory must be
    searched, it is in the PYTHONPATH of ``child_environment``.
    """
    return [sys.executable, "-P", "-m", "cluster", *arguments]


async def command_output(
    reactor: Any, command: Sequence[str], environment: Mapping[str, str]
) -> tuple[int, str]:
    """Run a command; returns its exit status, and the last line of its output.

    If the command fails, the line is the last one of its standard error. A command that is ended by
    a signal has the status -1.
    """
    try:
        out, errors, status = await getProcessOutputAndValue(
            command[0], command[1:], environment, reactor=reactor
        )
    except CancelledError:
        raise
    except Exception:  # the type is a tuple of the output and the signal
        return -1, "it was ended by a signal"
    lines = (out if status == 0 else errors or out).decode("utf-8", "backslashreplace").splitlines()
    return status, lines[-1].strip() if lines else ""
