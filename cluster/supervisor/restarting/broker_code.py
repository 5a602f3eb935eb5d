"""Whether the broker runs the code that is installed now."""

import os
import sys
from collections.abc import Sequence
from typing import Any

from cluster.core.exceptions import OperationFailed
from cluster.supervisor.child_command import child_environment, command_output


async def is_current(
    reactor: Any, command: Sequence[str], arguments: Sequence[str], fingerprint: str | None
) -> bool:
    """Compare a running broker with the installed code.

    Args:
        reactor: Starts a process that loads the code.
        command: The command line of a child, without its arguments.
        arguments: What the command line of this cluster's broker has besides.
        fingerprint: What the broker reported; None if it does not run.

    Raises:
        OperationFailed: The code cannot be loaded.
    """
    if fingerprint is None:
        return False
    environment = child_environment(os.environ, sys.path)
    command = [*command, "broker", "--fingerprint", *arguments]
    status, text = await command_output(reactor, command, environment)
    if status != 0:
        raise OperationFailed(f"the broker's code cannot be loaded: {text}")
    return text == fingerprint
