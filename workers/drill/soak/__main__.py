"""`python -m workers.drill.soak`."""

import sys

from workers.drill.soak.command import main

if __name__ == "__main__":
    sys.exit(main())
