"""The order of the measurements: candidates take turns, so that other load affects all equally."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from benchmarks.measurements import Measurements, shown
from benchmarks.servers import Failed


class Named(Protocol):
    """What is measured: a Candidate, or something else with a name."""

    @property
    def name(self) -> str: ...


T = TypeVar("T")
N = TypeVar("N", bound=Named)


def turns(whose: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """Yield (round, candidate): every candidate once in each round."""
    for number in range(1, rounds + 1):
        for one in whose:
            yield number, one


def note(number: int, name: str, what: object) -> None:
    """Print a line of progress to standard error."""
    print(f"round {number}, {name}: {what}", file=sys.stderr, flush=True)


class Results(dict[str, list[Measurements]]):
    """The runs of each candidate, and the errors of runs that failed and were repeated."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: list[str] = []


def measured(
    candidates: Sequence[N],
    rounds: int,
    measure: Callable[[N], Measurements],
) -> Results:
    """Call `measure` for each candidate in each round; progress goes to standard error.

    A run that fails is repeated once, and the report lists it in `failed`. Raises Failed if it
    fails again.
    """
    results = Results()
    results.update((candidate.name, []) for candidate in candidates)
    for number, candidate in turns(candidates, rounds):
        try:
            measured = measure(candidate)
        except Failed as error:
            note(number, candidate.name, error)
            reason = str(error).partition("\n")[0]
            results.failed.append(f"round {number}, {candidate.name}: {reason}")
            measured = measure(candidate)
        results[candidate.name].append(measured)
        said = ", ".join(f"{name} {shown(value)}" for name, value in measured.items())
        note(number, candidate.name, said)
    return results


def chosen(candidates: Sequence[N], only: str) -> list[N]:
    """Return the candidates that --only selects; raises Failed if there are none."""
    found = [candidate for candidate in candidates if only.lower() in candidate.name.lower()]
    if not found:
        names = ", ".join(candidate.name for candidate in candidates)
        raise Failed(f"no candidate has {only!r} in its name; they are: {names}")
    return found
