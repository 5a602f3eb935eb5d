"""`python -m workers.drill`."""

import sys

from workers.drill.command import main

if __name__ == "__main__":
    sys.exit(main())
