"""The fingerprint of the code that a process runs.

A rolling restart compares the fingerprint of the running broker with that of the installed code,
and leaves the broker alone if they are equal: replacing it interrupts the link between the nodes.
"""

import hashlib
import importlib
import importlib.metadata
import sys
from pathlib import Path

LIBRARIES = ("Twisted", "pyzmq")
"""Distributions whose release is part of the fingerprint."""


def code_fingerprint(module: str) -> str:
    """Import a module, and return a hash of the files of c10k that are loaded now.

    It includes the releases of Python and of LIBRARIES.
    """
    importlib.import_module(module)
    digest = hashlib.sha256(sys.version.encode())
    for library in LIBRARIES:
        digest.update(importlib.metadata.version(library).encode())
    for name, loaded in sorted(sys.modules.items()):
        path = getattr(loaded, "__file__", None)
        if name.partition(".")[0] == "cluster" and path:
            digest.update(name.encode())
            digest.update(Path(path).read_bytes())
    return digest.hexdigest()
