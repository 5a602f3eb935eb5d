"""The private folder with the site's secret key and database.

Rules:

* The folder is ``$C10K_STATE_DIR``, else ``$XDG_STATE_HOME/c10k``, else ``~/.local/state/c10k``.
* The first process creates the key, and the file is complete from the moment it exists. Several
  nodes start together and must all read the same key; otherwise a node would reject the sessions
  that another node signed.
* For the same reason a folder that is not writable is an error: without it each process would have
  another key.
* The folder belongs to the user of the process, and no other user may enter it. Another user who
  could read the key could forge sessions, and one who could write could replace it. The key and the
  database are also readable by this user only, in case the folder is opened or copied.
"""

import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

KEY_FILE = "secret_key"
STATIC_FOLDER = "static"
DATABASE_FILE = "db.sqlite3"
KEY_BYTES = 50  # random bytes: 67 characters, more than the 50 that ``check --deploy`` requires


def state_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder's absolute path; the folder may not exist yet.

    Raises ImproperlyConfigured if neither variable is set and the user has no home folder.
    """
    chosen = environ.get("C10K_STATE_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    xdg = environ.get("XDG_STATE_HOME")
    # The XDG Base Directory Specification: relative paths must be ignored.
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
    """Create the folder, which only its user may enter, unless it exists.

    Raises ImproperlyConfigured, with the variable to set, if that fails.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, error) from error


def static_folder(folder: Path) -> Path:
    """Return the folder of the static files with hashes in their names; it is created.

    Raises ImproperlyConfigured, with the variable to set, if that fails.
    """
    found = folder / STATIC_FOLDER
    prepare_folder(found)
    return found


def check_private(path: Path) -> None:
    """Check that a file or folder belongs to this user, and that no other user has access.

    Raises ImproperlyConfigured, with the command that corrects it. A path that does not exist, or
    that cannot be reached, is ignored.
    """
    try:
        status = path.stat()
    except OSError:
        return
    kind, mode = ("folder", "700") if stat.S_ISDIR(status.st_mode) else ("file", "600")
    if status.st_uid != os.geteuid():
        raise ImproperlyConfigured(
            f"the {kind} {path} must belong to user {os.geteuid()}, who runs the site, not to user"
            f" {status.st_uid}: remove it, or set C10K_STATE_DIR to another folder"
        )
    if status.st_mode & 0o077:
        raise ImproperlyConfigured(
            f"other users have access to the {kind} {path}, where the site keeps its secret key and"
            f" database: chmod {mode} {path}"
        )


def private_database(folder: Path) -> Path:
    """Return the path of the SQLite database, which only this user can read.

    SQLite would create it with the umask's mode, and gives its journals the mode of the database.
    """
    path = folder / DATABASE_FILE
    with suppress(OSError):  # the first use of the database reports why it cannot be used
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        os.chmod(path, 0o600)
    return path


def secret_key(environ: Mapping[str, str], folder: Path) -> str:
    """Return ``$DJANGO_SECRET_KEY``, or the key in ``folder``, which is created if necessary.

    Several processes may call this at the same time; all receive the same key. Creates ``folder``
    if necessary. Raises ImproperlyConfigured if the key can be neither read nor saved, or if
    another user has access to the folder or the key.
    """
    given = environ.get("DJANGO_SECRET_KEY")
    if given:
        with suppress(ImproperlyConfigured):
            prepare_folder(folder)  # for the database; if this fails, its first use reports why
        check_private(folder)
        return given
    prepare_folder(folder)
    check_private(folder)
    path = folder / KEY_FILE
    check_private(path)
    try:
        try:
            key = path.read_text("ascii").strip()
        except FileNotFoundError:
            _keep_new_key(path)
            # Another process may have been first: read the key instead of using the new one.
            key = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(folder, error) from error
    if not key:
        raise ImproperlyConfigured(f"{path} is empty: delete it, and a new secret key is created")
    return key


def _keep_new_key(path: Path) -> None:
    """Write a key to a temporary file, then link it to ``path`` unless that exists by now.

    If ``path`` itself were opened with O_EXCL, another process could read it between its creation
    and the write. link() makes the complete file visible in one step.
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
            return  # another process was first; all processes use its key
    finally:
        os.unlink(draft)


def _unusable(folder: Path, error: Exception) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"the site cannot keep its secret key and database in {folder} ({error}): "
        "set C10K_STATE_DIR to a folder that can be written, or DJANGO_SECRET_KEY to a key"
    )
