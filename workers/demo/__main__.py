"""`python -m workers.demo`."""

import sys

from workers.demo.command import main

if __name__ == "__main__":
    sys.exit(main())
