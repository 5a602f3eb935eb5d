"""`python -m benchmarks.machines`."""

from benchmarks import command
from benchmarks.machines.command import main

if __name__ == "__main__":
    command.run(main)
