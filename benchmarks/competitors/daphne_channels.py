"""The Channels site on Daphne: `python -m benchmarks.competitors.daphne_channels [--workers 4]`.

Daphne has one process and no option for more. As Channels' deployment guide suggests, this module
opens a listening socket and passes it to several Daphne processes by --fd.
"""

import argparse
import signal
import socket
import subprocess
import sys

APPLICATION = "benchmarks.competitors.channels_site:application"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: a free one (default)")
    parser.add_argument("--workers", type=int, default=1, help="processes (1)")
    options = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", options.port), backlog=4096)
    print(f"listening on ws://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
    # Daphne would log each connection, which the other servers do not.
    command = [sys.executable, "-m", "daphne", "--fd", str(listener.fileno())]
    command += ["--access-log", "/dev/null", APPLICATION]
    workers = [
        subprocess.Popen(command, pass_fds=[listener.fileno()]) for _ in range(options.workers)
    ]
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    try:
        for worker in workers:
            worker.wait()
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()


if __name__ == "__main__":
    main()
