"""`python -m workers.drill.machines`."""

import sys

from workers.drill.machines.command import main

if __name__ == "__main__":
    sys.exit(main())
