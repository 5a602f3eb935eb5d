"""Where the site keeps what must outlive a process: one private folder with its key and database.

Rules:

* The folder is ``$C10K_STATE_DIR``, else ``$XDG_STATE_HOME/c10k``, else ``~/.local/state/c10k``.
* The key is made once, by whichever process comes first, and is complete the moment its name
  exists: several nodes start together, and each must read the same key, or a session signed by
  one would be a forgery to the others.
* A folder that cannot be written is an error, never a key kept in memory, for the same reason.
"""

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

KEY_FILE = "secret_key"
KEY_BYTES = 50  # of randomness: 67 characters, past the 50 that ``check --deploy`` asks for


def state_folder(environ: Mapping[str, str]) -> Path:
    """The folder's absolute path; it need not exist yet.

    Raises ImproperlyConfigured where neither variable is set and the user has no home.
    """
    chosen = environ.get("C10K_STATE_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    xdg = environ.get("XDG_STATE_HOME")
    # The XDG specification says that a relative path is to be ignored.
    if xdg and os.path.isabs(xdg):
        return Path(xdg) / "c10k"
    try:
        return Path.home() / ".local" / "state" / "c10k"
    except RuntimeError:
        raise ImproperlyConfigured(
            "there is no home folder to keep the site's secret key and database in: "
            "set C10K_STATE_DIR to a folder that can be written"
        ) from None


def prepare_folder(folder: Path) -> None:
    """Make the folder, private to its user, unless it exists.

    Raises ImproperlyConfigured, naming the variable to set, if that cannot be done.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, error) from error


def secret_key(environ: Mapping[str, str], folder: Path) -> str:
    """``$DJANGO_SECRET_KEY``, or the key kept in ``folder``, made now if there is none.

    Any number of processes may call this at once; all get the same key. ``folder`` is made if it
    is needed. Raises ImproperlyConfigured if the key can be neither read nor kept.
    """
    given = environ.get("DJANGO_SECRET_KEY")
    if given:
        with suppress(ImproperlyConfigured):
            prepare_folder(folder)  # for the database; who uses that is told if it is missing
        return given
    prepare_folder(folder)
    path = folder / KEY_FILE
    try:
        try:
            key = path.read_text("ascii").strip()
        except FileNotFoundError:
            _keep_new_key(path)
            # Not what was just made: another process may have been first.
            key = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(folder, error) from error
    if not key:
        raise ImproperlyConfigured(f"{path} is empty: delete it, and a new secret key is made")
    return key


def _keep_new_key(path: Path) -> None:
    """Write a key under a name of our own, then link it to ``path`` unless that exists by now.

    Opening ``path`` itself with O_EXCL would let another process read it between its creation
    and the write; link() shows it complete or not at all.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return  # another process was first: its key is the key
    finally:
        os.unlink(draft)


def _unusable(folder: Path, error: Exception) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"the site cannot keep its secret key and database in {folder} ({error}): "
        "set C10K_STATE_DIR to a folder that can be written, or DJANGO_SECRET_KEY to a key"
    )
