"""Runs the c10k command against a cluster of a test."""

import json
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from tests.e2e.processes import ROOT, Cluster, environment, reactor

C10K = [
    sys.executable,
    "-c",
    "import sys; from cluster.cli.console.main import main; sys.exit(main())",
]


async def c10k(test: TestCase, cluster: Cluster, *arguments: str, status: int = 0) -> str:
    """Run a command; returns its standard output, or standard error if it shall fail."""
    environ = environment(cluster.mark, XDG_RUNTIME_DIR=str(cluster.runtime))
    asked: Deferred[tuple[bytes, bytes, int]] = getProcessOutputAndValue(
        C10K[0], [*C10K[1:], *arguments], env=environ, path=str(ROOT), reactor=reactor
    )
    out, err, code = await asked
    test.assertEqual(status, code, (out, err))
    return (err if status else out).decode()


async def c10k_json(test: TestCase, cluster: Cluster, *arguments: str) -> Any:
    """Run a command with ``--json``; returns the value that it prints."""
    return json.loads(await c10k(test, cluster, *arguments, "--json"))
