"""The running clusters of a user, found by their runtime folders (net.runtime_directory).

Processes that publish through a cluster, and commands that operate one, look for its folder here. A
service has no XDG_RUNTIME_DIR, but a login session of the same user has one, so both locations are
searched.
"""

import fcntl
import os
from collections.abc import Mapping

from cluster.net.runtime_directory import BASE_FOLDERS, is_private


def running_clusters(environ: Mapping[str, str], uid: int) -> dict[int, str]:
    """Find the user's running clusters.

    Args:
        environ: Environment variables. If XDG_RUNTIME_DIR is set to a folder that is not among
            BASE_FOLDERS, only that folder is searched. Otherwise BASE_FOLDERS are searched, up to
            the first one with a running cluster.
        uid: The user's ID.

    Returns:
        The folders of the clusters by their first port, in the order of the ports.
    """
    usual = [base.format(uid=uid) for base in BASE_FOLDERS]
    chosen = environ.get("XDG_RUNTIME_DIR") or usual[0]
    for base in usual if chosen == usual[0] else [chosen]:
        parent = os.path.join(base, f"c10k-{uid}")
        # In /tmp any user can create a folder with this name, and listen on sockets in it.
        if not is_private(parent, uid):
            continue
        folders = {int(name): os.path.join(parent, name) for name in _ports(parent)}
        running = {
            port: path
            for port, path in sorted(folders.items())
            if is_private(path, uid) and _is_owned(path)
        }
        if running:
            return running
    return {}


def _ports(parent: str) -> list[str]:
    try:
        return [name for name in os.listdir(parent) if name.isascii() and name.isdigit()]
    except OSError:
        return []


def _is_owned(path: str) -> bool:
    """Whether a process holds the folder's lock."""
    try:
        descriptor = os.open(os.path.join(path, "lock"), os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
