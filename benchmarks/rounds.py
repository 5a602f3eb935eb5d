"""Who is measured, and when: in turn, so that what else the machine does falls on all alike."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from benchmarks.figures import Figures, shown
from benchmarks.servers import Candidate, Failed

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
    """The runs of each candidate, and what was said of those that failed and were done again."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: list[str] = []


def measured(
    candidates: Sequence[Candidate],
    rounds: int,
    measure: Callable[[Candidate], Figures],
) -> Results:
    """`measure` each candidate in each round; progress goes to standard error.

    A run that fails is done again, once, and noted in `failed`, as leaving it out is a choice of
    what to report; Failed if it fails again.
    """
    results = Results()
    results.update((candidate.name, []) for candidate in candidates)
    for number, candidate in turns(candidates, rounds):
        try:
            figures = measure(candidate)
        except Failed as error:
            note(number, candidate.name, error)
            reason = str(error).partition("\n")[0]
            results.failed.append(f"round {number}, {candidate.name}: {reason}")
            figures = measure(candidate)
        results[candidate.name].append(figures)
        said = ", ".join(f"{name} {shown(value)}" for name, value in figures.items())
        note(number, candidate.name, said)
    return results


def chosen(candidates: Sequence[Candidate], only: str) -> list[Candidate]:
    """The candidates --only names; Failed if there is none."""
    found = [candidate for candidate in candidates if only.lower() in candidate.name.lower()]
    if not found:
        names = ", ".join(candidate.name for candidate in candidates)
        raise Failed(f"no candidate has {only!r} in its name; they are: {names}")
    return found
