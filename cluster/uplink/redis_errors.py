"""What Redis refuses, and how connections fail, as errors of an engine with a one-line reason."""

import os
import ssl

from redis import exceptions

from cluster.core.machines.engine import (
    AnotherSite,
    EngineError,
    EngineFull,
    EngineRefused,
    EngineUnavailable,
    EngineUnusable,
    GenerationChanged,
    Gone,
    NameTaken,
    NoMachine,
)

_SCRIPT_ERRORS: dict[str, type[EngineError]] = {
    "GENERATION": GenerationChanged,
    "GONE": Gone,
    "NUMBER": Gone,
    "NAMETAKEN": NameTaken,
    "FINGERPRINT": AnotherSite,
    "FULL": EngineFull,
    "NOBODY": NoMachine,
}
"""How the errors of our scripts begin."""

_REFUSALS = {
    "NOREPLICAS": "Redis has fewer replicas than min-replicas-to-write",
    "MISCONF": "Redis takes no writes, because it could not save its data to its disk",
    "BUSY": "Redis is busy with a script of another client",
}


def engine_error(error: Exception) -> EngineError:
    """Return an error of redis-py as one of an engine, with a reason in a single line."""
    if isinstance(error.__cause__, exceptions.RedisError):
        error = error.__cause__  # redis-py wraps what a server answers during the handshake
    text = " ".join(str(error).split())
    code = text.partition(" ")[0]
    if isinstance(error, exceptions.AuthenticationError):
        return EngineUnusable(f"Redis refuses the user or the password: {text}")
    if isinstance(error, exceptions.NoPermissionError):
        return EngineUnusable(f"Redis does not permit what the uplink needs: {text}")
    if isinstance(error, exceptions.OutOfMemoryError):
        return EngineRefused("Redis has no memory left (OOM); raise its maxmemory")
    if isinstance(error, exceptions.ReadOnlyError):
        return EngineUnavailable("this Redis has become a replica")
    if isinstance(error, exceptions.BusyLoadingError):
        return EngineUnavailable("Redis is loading its data")
    if code in _SCRIPT_ERRORS:
        return _SCRIPT_ERRORS[code](text.partition(" ")[2])
    if code == "UNBLOCKED":
        return EngineUnavailable("this Redis has become a replica")
    if code in _REFUSALS:
        return EngineRefused(_REFUSALS[code])
    if isinstance(error, exceptions.ResponseError):
        return EngineUnavailable(f"unexpected answer of Redis: {text}")
    return EngineUnavailable(text or type(error).__name__)


def connect_error(error: Exception, where: str) -> EngineError:
    """Return why a connection failed.

    Args:
        error: What redis-py raised.
        where: The address, which begins the text.
    """
    found, reason = engine_error(error), _reason(error.__context__)
    if type(found) is EngineUnavailable and reason:
        return EngineUnavailable(f"cannot connect to {where}: {reason}")
    return found


def ends_connection(error: EngineError) -> bool:
    """Whether to close the connection after this error, and to look for the server again."""
    is_refused = isinstance(error, EngineRefused)
    return isinstance(error, EngineUnavailable | EngineUnusable) and not is_refused


def _reason(cause: BaseException | None) -> str:
    """Why a connection failed, in the system's words: redis-py's text repeats the address."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"no TLS: {cause.reason}"
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)
    return ""
