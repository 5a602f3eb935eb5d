"""The private folder of a running cluster: control socket, broker socket, publish sockets, lock.

One folder per user and first port, ``${XDG_RUNTIME_DIR or /tmp}/c10k-<uid>/<port>/``, so that
clusters on different ports coexist without further options. Whoever holds the lock owns the folder.
A kernel lock (flock) ends with its process, so a cluster that was killed leaves nothing that would
have to be judged by age or by process number: what lies in a folder whose lock is free is stale.

Processes that want to publish through a cluster find its folder here, too (``running_clusters``).
A service has no XDG_RUNTIME_DIR, the login session of the same user has one: so they look in both
places.
"""

import fcntl
import os
import stat
import time
from collections.abc import Mapping
from glob import escape, glob

from cluster.core.exceptions import ConfigurationError
from cluster.net.listening_sockets import unix_path_fits

_NAMES = ("control.sock", "broker.ipc")
_PUBLISH = "publish-{}.sock"

PLACES = ("/run/user/{uid}", "/tmp")
"""Where a user's clusters have their folders: begun in a login session, and without one."""

LOCK_ATTEMPTS = 10
LOCK_PAUSE_S = 0.01
"""Whoever looks for running clusters holds a free lock for some microseconds."""


class RuntimeDirectory:
    """An owned folder. Make one with ``RuntimeDirectory.claim``, give it back with ``release``."""

    def __init__(self, path: str, lock: int) -> None:
        self.path = path
        self._lock = lock

    @property
    def control(self) -> str:
        """Path of the control socket."""
        return os.path.join(self.path, "control.sock")

    @property
    def broker(self) -> str:
        """The ZeroMQ endpoint of the cluster's own broker."""
        return "ipc://" + os.path.join(self.path, "broker.ipc")

    def publish_socket(self, slot: int) -> str:
        """Path of the socket through which others publish, for one of the cluster's nodes."""
        return os.path.join(self.path, _PUBLISH.format(slot))

    @classmethod
    def claim(cls, port: int, environ: Mapping[str, str], uid: int) -> "RuntimeDirectory":
        """Make, lock and clean the folder for a cluster whose first port is ``port``.

        Raises ConfigurationError if another cluster owns it, it cannot be made, it belongs to
        someone else, or its path is too long for a Unix socket.
        """
        base = environ.get("XDG_RUNTIME_DIR") or "/tmp"
        parent = os.path.join(base, f"c10k-{uid}")
        path = os.path.join(parent, str(port))
        for name in (*_NAMES, _PUBLISH.format(999)):
            if not unix_path_fits(os.path.join(path, name)):
                raise ConfigurationError(
                    f"the runtime folder's path is too long for a Unix socket: {path}"
                    " (set XDG_RUNTIME_DIR to a shorter one; the kernel allows 107 bytes with"
                    f" /{name})"
                )
        while True:
            _make_private(parent, uid)
            _make_private(path, uid)
            lock = _lock(path, port)
            if lock is not None:
                break
        owned = cls(path, lock)
        owned._clean()
        return owned

    def release(self) -> None:
        """Remove the folder and give up the lock. Idempotent."""
        if self._lock < 0:
            return
        self._clean()
        try:
            # Under the lock, so that nobody else's file is removed; _lock sees that it is gone.
            os.unlink(os.path.join(self.path, "lock"))
            os.rmdir(self.path)
        except OSError:
            pass  # somebody put a file there: leave it
        os.close(self._lock)
        self._lock = -1

    def _clean(self) -> None:
        paths = [os.path.join(self.path, name) for name in _NAMES]
        for path in (*paths, *publish_sockets(self.path)):
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise ConfigurationError(
                    f"cannot remove the stale {path}: {error.strerror}"
                ) from None


def publish_sockets(path: str) -> list[str]:
    """The paths of the publish sockets in a folder; nobody need listen there."""
    return glob(os.path.join(escape(path), _PUBLISH.format("*")))


def running_clusters(environ: Mapping[str, str], uid: int) -> dict[int, str]:
    """The user's running clusters: first port -> folder.

    An XDG_RUNTIME_DIR that somebody has chosen is taken at its word. Of the other places where
    clusters have their folders, the first one that has any counts.
    """
    places = [place.format(uid=uid) for place in PLACES]
    chosen = environ.get("XDG_RUNTIME_DIR") or places[0]
    for base in places if chosen == places[0] else [chosen]:
        parent = os.path.join(base, f"c10k-{uid}")
        # In /tmp anybody may make a folder of this name, and listen there.
        if not _is_private(parent, uid):
            continue
        folders = {int(name): os.path.join(parent, name) for name in _ports(parent)}
        running = {
            port: path
            for port, path in sorted(folders.items())
            if _is_private(path, uid) and _is_owned(path)
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


def _is_private(path: str, uid: int) -> bool:
    """Whether this is a folder that belongs to the user and that nobody else may enter."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == uid and not status.st_mode & 0o077


def _make_private(path: str, uid: int) -> None:
    """Make a folder that only we may enter, or check that the one there is such."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigurationError(
            f"cannot make the runtime folder {path}: {error.strerror}"
            " (XDG_RUNTIME_DIR names the place for it)"
        ) from None
    # In /tmp anybody may make a folder, or a link, of this name before us.
    if not _is_private(path, uid):
        raise ConfigurationError(
            f"{path} must be a folder that belongs to user {uid} and that nobody else may enter"
            " (remove it, or chmod 700)"
        )


def _lock(path: str, port: int) -> int | None:
    """A descriptor holding the folder's lock; None if the folder vanished meanwhile: try again."""
    name = os.path.join(path, "lock")
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"cannot open {name}: {error.strerror}") from None
    if not _wait_for(descriptor):
        owner = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise ConfigurationError(
            f"another cluster of yours has port {port} (process {owner or 'unknown'}, {path})"
        )
    try:
        current = os.stat(name).st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        current = False
    if not current:  # its last owner removed it between our open and our lock
        os.close(descriptor)
        return None
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    return descriptor


def _wait_for(descriptor: int) -> bool:
    """Lock the file; False if somebody has the lock and keeps it."""
    for attempt in range(LOCK_ATTEMPTS):
        if attempt:
            time.sleep(LOCK_PAUSE_S)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        return True
    return False
