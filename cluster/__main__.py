"""``python -m cluster``: a child process of the supervisor (cluster.cli.child)."""

import sys

from cluster.cli.child import main

if __name__ == "__main__":
    main(sys.argv[1:])
