"""Who is measured, and when: in turn, so that what else the machine does falls on all alike."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from benchmarks.figures import Figures, shown
from benchmarks.servers import Contender, Failed

T = TypeVar("T")


def turns(whose: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """(round, whose turn it is): everybody once in each round."""
    for number in range(1, rounds + 1):
        for one in whose:
            yield number, one


def note(number: int, name: str, what: object) -> None:
    """A line of progress, to standard error."""
    print(f"round {number}, {name}: {what}", file=sys.stderr, flush=True)


class Results(dict[str, list[Figures]]):
    """The runs of each contender, and what was said of those that failed and were done again."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: list[str] = []


def measured(
    contenders: Sequence[Contender],
    rounds: int,
    measure: Callable[[Contender], Figures],
) -> Results:
    """`measure` each contender in each round; progress goes to standard error.

    A run that fails is done again, once, and noted in `failed`, as leaving it out is a choice of
    what to report; Failed if it fails again.
    """
    results = Results()
    results.update((contender.name, []) for contender in contenders)
    for number, contender in turns(contenders, rounds):
        try:
            figures = measure(contender)
        except Failed as error:
            note(number, contender.name, error)
            reason = str(error).partition("\n")[0]
            results.failed.append(f"round {number}, {contender.name}: {reason}")
            figures = measure(contender)
        results[contender.name].append(figures)
        said = ", ".join(f"{name} {shown(value)}" for name, value in figures.items())
        note(number, contender.name, said)
    return results


def chosen(contenders: Sequence[Contender], only: str) -> list[Contender]:
    """The contenders --only names; Failed if there is none."""
    found = [contender for contender in contenders if only.lower() in contender.name.lower()]
    if not found:
        names = ", ".join(contender.name for contender in contenders)
        raise Failed(f"no contender has {only!r} in its name; they are: {names}")
    return found
