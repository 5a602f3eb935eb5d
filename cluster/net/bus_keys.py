"""The CURVE keys of a broker and its nodes (CurveZMQ, https://rfc.zeromq.org/spec/26/).

A folder has four files, in the format of ``zmq.auth``::

    broker.key_secret    the broker's key pair
    broker.key           its public key
    node.key_secret      the key pair that all nodes share
    node.key             its public key

The broker needs broker.key_secret and node.key; a node needs node.key_secret and broker.key. So the
host of a node cannot act as the broker. Each side accepts only the other side's key.
"""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import zmq
from twisted.internet.defer import ensureDeferred
from twisted.logger import Logger
from zmq.auth import load_certificate
from zmq.auth.base import Authenticator

from cluster.core.exceptions import ConfigurationError
from cluster.net.zmq_socket import ZmqSocket

ROLES = ("broker", "node")

KEY_LENGTH = 40
"""Characters of a key in Z85 (https://rfc.zeromq.org/spec/32/)."""

DOMAIN = "c10k"
"""ZMQ_ZAP_DOMAIN of the broker's socket."""

_log = Logger()


@dataclass(frozen=True, slots=True)
class BusKeys:
    """The keys that one process uses, in Z85. ``accepted`` is the public key of the other side."""

    public: bytes
    secret: bytes = field(repr=False)
    accepted: bytes

    @classmethod
    def load(cls, folder: str, role: str) -> "BusKeys":
        """Read the keys of a broker or a node (``role``).

        Raises ConfigurationError if a file is missing or no key, or if the secret one belongs to
        another user or can be read by others.
        """
        other = ROLES[1 - ROLES.index(role)]
        own = os.path.join(folder, f"{role}.key_secret")
        _check_secrecy(own)
        public, secret = _read(own)
        accepted, _ = _read(os.path.join(folder, f"{other}.key"))
        if secret is None:
            raise ConfigurationError(f"{own} has no secret key: make new keys with c10k keygen")
        return cls(public, secret, accepted)

    def secure_broker(
        self, reactor: Any, context: "zmq.Context[Any]", socket: "zmq.Socket[bytes]"
    ) -> ZmqSocket:
        """Let a socket accept only encrypted connections of nodes. Call it before it is bound.

        Returns:
            The socket on which ZeroMQ asks whether a key is accepted (ZAP,
            https://rfc.zeromq.org/spec/27/). Close it after the other one.
        """
        authenticator = Authenticator(context)
        authenticator.configure_curve_callback(DOMAIN, self)
        authenticator.start()
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret)
        socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN.encode())

        def asked(parts: list[bytes]) -> None:
            # A coroutine, because a callback may be one; this one never waits.
            ensureDeferred(authenticator.handle_zap_message(parts)).addErrback(
                lambda failure: _log.failure("cannot check a key", failure)
            )

        asking = ZmqSocket(reactor, authenticator.zap_socket, asked)
        asking.start()
        return asking

    def secure_node(self, socket: "zmq.Socket[bytes]") -> None:
        """Let a socket connect only to the broker whose key this is. Call it before it connects."""
        socket.setsockopt(zmq.CURVE_SERVERKEY, self.accepted)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret)

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a client's key is accepted; ``zmq.auth`` calls this."""
        return key == self.accepted


def make_keys(folder: str) -> list[str]:
    """Write new keys to a folder, which is created if necessary; returns the paths.

    Raises ConfigurationError, and writes nothing, if one of the files exists.
    """
    names = [f"{role}.{kind}" for role in ROLES for kind in ("key_secret", "key")]
    paths = [os.path.join(folder, name) for name in names]
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        for path in paths:
            if os.path.lexists(path):
                raise ConfigurationError(
                    f"{path} exists already: choose another folder, or remove its keys first"
                )
        pairs = {role: zmq.curve_keypair() for role in ROLES}
        for role in ROLES:
            public, secret = (key.decode() for key in pairs[role])
            lines = (f'    public-key = "{public}"', f'    secret-key = "{secret}"')
            about = f"the key pair of the {role}. Keep it secret."
            _write(os.path.join(folder, f"{role}.key_secret"), about, lines)
            _write(os.path.join(folder, f"{role}.key"), f"the {role}'s public key.", lines[:1])
    except OSError as error:
        raise ConfigurationError(f"cannot write {error.filename}: {error.strerror}") from None
    return paths


def _write(path: str, about: str, lines: Iterable[str]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write("\n".join((f"#  c10k: {about}", "metadata", "curve", *lines, "")))


def _read(path: str) -> tuple[bytes, bytes | None]:
    try:
        public, secret = load_certificate(path)
    except OSError as error:
        reason = error.strerror or "No such file"  # zmq.auth raises its own error without one
        raise ConfigurationError(f"cannot read the key {path}: {reason}") from None
    except ValueError:
        public, secret = b"", None
    if any(len(key) != KEY_LENGTH for key in (public, secret) if key is not None):
        raise ConfigurationError(f"{path} is no key: make new ones with c10k keygen")
    return public, secret


def _check_secrecy(path: str) -> None:
    try:
        status: Any = os.stat(path)
    except OSError as error:
        raise ConfigurationError(f"cannot read the key {path}: {error.strerror}") from None
    if status.st_uid not in (0, os.geteuid()) or stat.S_IMODE(status.st_mode) & 0o077:
        raise ConfigurationError(
            f"{path} must belong to this user, and no other user may read it (chmod 600)"
        )
