"""The private folder of a running cluster: lock, and the sockets of its processes.

There is one folder for each user and first port, ``${XDG_RUNTIME_DIR or /tmp}/c10k-<uid>/<port>/``,
so clusters on different ports can run at the same time without further options. A broker without a
cluster (``twistd c10k-broker``) has the folder ``broker`` beside them. The process that
holds the lock owns the folder. The kernel releases a lock (flock(2)) when its process ends. So all
files in a folder whose lock is free are stale, and no file ages or process IDs have to be checked
after a cluster was killed.
"""

import fcntl
import os
import stat
import time
from collections.abc import Mapping
from glob import escape, glob

from cluster.core.exceptions import ConfigurationError
from cluster.net.addresses import unix_path_fits

_NAMES = ("control.sock", "broker.ipc")
_HISTORY = "history"
_PUBLISH = "publish-{}.sock"  # {}: slot and process
_HANDOVER = "handover-{}.sock"  # {}: the token of the process
_BROKER = "broker"

BASE_FOLDERS = ("/run/user/{uid}", "/tmp")
"""The parents of the folders of a user's clusters: in a login session, and without one."""

LOCK_ATTEMPTS = 10
LOCK_PAUSE_S = 0.01
"""Seconds between two attempts to lock. A process that searches for running clusters holds a free
lock for some microseconds."""


class RuntimeDirectory:
    """A folder that this process owns. Create it with ``claim``; call ``release`` at the end."""

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

    @property
    def history(self) -> str:
        """Path of the file in which the broker records what topics retain."""
        return os.path.join(self.path, _HISTORY)

    def publish_socket(self, slot: int, pid: int) -> str:
        """Path of the Unix socket through which other processes publish at this node.

        It has the process ID, because a node and its replacement serve at the same time.
        """
        return os.path.join(self.path, _PUBLISH.format(f"{slot}-{pid}"))

    @classmethod
    def claim(cls, port: int, environ: Mapping[str, str], uid: int) -> "RuntimeDirectory":
        """Create and lock the folder of a cluster, and remove stale files from it.

        Args:
            port: The cluster's first port.
            environ: Environment variables, for XDG_RUNTIME_DIR.
            uid: The user's ID.

        Raises:
            ConfigurationError: Another cluster owns the folder, it cannot be created, it belongs to
                another user, or its path is too long for a Unix socket.
        """
        return cls._claim(str(port), f"another cluster of yours uses port {port}", environ, uid)

    @classmethod
    def claim_for_broker(cls, environ: Mapping[str, str], uid: int) -> "RuntimeDirectory":
        """The same for a broker without a cluster."""
        return cls._claim(_BROKER, "another broker of yours is running", environ, uid)

    @classmethod
    def _claim(
        cls, name: str, conflict: str, environ: Mapping[str, str], uid: int
    ) -> "RuntimeDirectory":
        path = _path_of(name, environ, uid)
        parent = os.path.dirname(path)
        for file in (*_NAMES, _PUBLISH.format("999-4194304")):
            if not unix_path_fits(os.path.join(path, file)):
                raise ConfigurationError(
                    f"the runtime folder's path is too long for a Unix socket: {path}"
                    " (set XDG_RUNTIME_DIR to a shorter one; the kernel allows 107 bytes with"
                    f" /{file})"
                )
        while True:
            _make_private(parent, uid)
            _make_private(path, uid)
            lock = _lock(path, conflict)
            if lock is not None:
                break
        owned = cls(path, lock)
        owned._clean()
        return owned

    def is_intact(self) -> bool:
        """Whether the folder is there, and its lock is the one that this process holds."""
        try:
            there = os.lstat(os.path.join(self.path, "lock"))
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self._lock))

    def make_again(self) -> None:
        """Create and lock the folder again after it was deleted.

        Raises:
            ConfigurationError: It cannot be created, or another cluster owns it by now.
        """
        _make_private(os.path.dirname(self.path), os.getuid())
        _make_private(self.path, os.getuid())
        lock = _lock(self.path, "another cluster of yours owns it by now")
        if lock is not None:  # otherwise it is gone again
            os.close(self._lock)
            self._lock = lock

    def release(self) -> None:
        """Remove the folder and release the lock. Idempotent."""
        if self._lock < 0:
            return
        self._clean()
        try:
            # Remove the file before the lock is released: afterwards it may be another owner's. A
            # process that is waiting for the lock detects in _lock that the file is gone.
            os.unlink(os.path.join(self.path, "lock"))
            os.rmdir(self.path)
        except OSError:
            pass  # it contains a file that is not ours
        os.close(self._lock)
        self._lock = -1

    def _clean(self) -> None:
        paths = [os.path.join(self.path, name) for name in _NAMES]
        if os.path.basename(self.path) != _BROKER:  # it keeps its history when it is restarted
            paths += (self.history, f"{self.history}.new")
        for path in (*paths, *publish_sockets(self.path), *handover_sockets(self.path)):
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise ConfigurationError(
                    f"cannot remove the stale {path}: {error.strerror}"
                ) from None


def broker_address(environ: Mapping[str, str], uid: int) -> str:
    """The ZeroMQ endpoint of the user's broker without a cluster, whether or not it runs."""
    return "ipc://" + os.path.join(_path_of(_BROKER, environ, uid), "broker.ipc")


def _path_of(name: str, environ: Mapping[str, str], uid: int) -> str:
    base = environ.get("XDG_RUNTIME_DIR") or "/tmp"
    return os.path.join(base, f"c10k-{uid}", name)


def publish_sockets(path: str) -> list[str]:
    """The paths of the publish sockets in a folder, whether or not a node listens on them."""
    return glob(os.path.join(escape(path), _PUBLISH.format("*")))


def handover_socket(path: str, token: str) -> str:
    """The path of the Unix socket at which a process takes connections from the others.

    Args:
        path: The folder.
        token: The token of the process (cluster.net.handover).
    """
    return os.path.join(path, _HANDOVER.format(token))


def handover_sockets(path: str) -> list[str]:
    """The paths of all such sockets in a folder, whether or not a process listens on them."""
    return glob(os.path.join(escape(path), _HANDOVER.format("*")))


def is_private(path: str, uid: int) -> bool:
    """Whether the path is a folder that belongs to the user and that no other user may enter."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == uid and not status.st_mode & 0o077


def _make_private(path: str, uid: int) -> None:
    """Create a folder that only its user may enter, or check that the existing one is private."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigurationError(
            f"cannot make the runtime folder {path}: {error.strerror}"
            " (XDG_RUNTIME_DIR names the folder for it)"
        ) from None
    # In /tmp any user can have created a folder or a link with this name.
    if not is_private(path, uid):
        raise ConfigurationError(
            f"{path} must be a folder that belongs to user {uid} and that no other user may enter"
            " (remove it, or chmod 700)"
        )


def _lock(path: str, conflict: str) -> int | None:
    """Lock the folder, and return the descriptor that holds the lock.

    Returns None if its last owner removed the folder meanwhile: create it again.
    """
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
        raise ConfigurationError(f"{conflict} (process {owner or 'unknown'}, {path})")
    try:
        current = os.stat(name).st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        current = False
    if not current:  # the file was removed between the open and the lock
        os.close(descriptor)
        return None
    try:
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    except OSError as error:
        os.close(descriptor)
        raise ConfigurationError(f"cannot write {name}: {error.strerror}") from None
    return descriptor


def _wait_for(descriptor: int) -> bool:
    """Lock the file; returns False if another process keeps the lock."""
    for attempt in range(LOCK_ATTEMPTS):
        if attempt:
            time.sleep(LOCK_PAUSE_S)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        return True
    return False
