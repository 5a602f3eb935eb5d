"""The listening socket of a ``unix:`` address: its file, and the lock against other clusters.

Unix sockets have no SO_REUSEPORT. So all nodes accept from one socket, each with a descriptor of
its own. bind(2) would fail for a file that a killed cluster has left, and deleting a file without a
check would take the address of a running program. The rules:

* the process that holds the lock (flock(2)) on ``PATH.lock`` owns the path. The kernel releases it
  when the process ends. The lock's file stays, because two processes could lock two files of one
  name;
* the owner removes a socket file to which nobody listens. It does not remove any other file.
"""

import fcntl
import os
import socket
import stat
from contextlib import suppress

from cluster.core.exceptions import ConfigurationError
from cluster.net.addresses import Address


class UnixListener:
    """A socket file that this process owns. Create it with ``claim``, and ``release`` it."""

    def __init__(self, address: Address, lock: int, listening: socket.socket) -> None:
        self._path = address.host
        self._lock = lock
        self._listening = listening

    @classmethod
    def claim(cls, address: Address, backlog: int) -> "UnixListener":
        """Lock a path, and listen there.

        Args:
            address: The address, with the scheme "unix".
            backlog: Connections that the kernel queues.

        Raises:
            ConfigurationError: Another program uses the path, or it cannot be used; the text has
                the address and the reason.
        """
        path = address.host
        lock = _lock(address)
        try:
            _remove_stale(address)
            listening = socket.socket(socket.AF_UNIX)
            listening.setblocking(False)
            try:
                _bind(listening, path, address.mode)
                listening.listen(backlog)
            except OSError:
                listening.close()
                raise
        except OSError as error:
            os.close(lock)
            raise _refusal(address, error.strerror or str(error)) from None
        except ConfigurationError:
            os.close(lock)
            raise
        return cls(address, lock, listening)

    def duplicate(self) -> socket.socket:
        """Return one more descriptor of the listening socket; the caller closes it."""
        return self._listening.dup()

    def release(self) -> None:
        """Remove the file, and release the lock. Idempotent.

        Processes that have duplicates can still accept what waits in the queue.
        """
        if self._lock < 0:
            return
        with suppress(OSError):
            os.unlink(self._path)
        self._listening.close()
        os.close(self._lock)
        self._lock = -1


def _lock(address: Address) -> int:
    name = f"{address.host}.lock"
    try:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _refusal(address, f"cannot open {name}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise _refusal(address, "another cluster uses this path") from None
    return lock


def _remove_stale(address: Address) -> None:
    """Remove the file that a cluster has left which was killed."""
    try:
        kind = os.lstat(address.host).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise _refusal(address, "there is a file with this name that is no socket")
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        try:
            client.connect(address.host)
        except ConnectionRefusedError:
            os.unlink(address.host)
            return
        except BlockingIOError:  # its queue is full
            pass
    raise _refusal(address, "another program listens there")


def _bind(listening: socket.socket, path: str, mode: int) -> None:
    # Nobody may connect before the file has its mode.
    before = os.umask(0o777)
    try:
        listening.bind(path)
    finally:
        os.umask(before)
    os.chmod(path, mode)


def _refusal(address: Address, reason: str) -> ConfigurationError:
    return ConfigurationError(f"cannot listen on {address.host_port}: {reason}")
