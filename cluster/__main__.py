"""``python -m cluster``: a child process of the supervisor (cluster.cli.child_main)."""

import signal
import sys

# Before the imports, which take some 0.3 s: both signals would end the process. Its service handles
# them later (cluster.cli.log_signals).
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.signal(signal.SIGUSR2, signal.SIG_IGN)

from cluster.cli.child_main import main  # noqa: E402

if __name__ == "__main__":
    main(sys.argv[1:])
