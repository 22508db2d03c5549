"""Search: visit every state that a model can reach, nearest first, until one breaks a rule.

A model is a start and a function that yields the steps out of a state. A process that stands still needs no step of
its own: between any two steps of one process all others may take any number of theirs. Nearest first, so the first
broken state found has the shortest way to it.
"""

from __future__ import annotations

import gc
import time
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)

MOST_STATES = 1_000_000
"""Beyond this a model is too large to be a test."""


class TooManyStates(Exception):
    """The search was given up."""


class Step(NamedTuple, Generic[S]):
    """What may happen next: who does what, and the state after it."""

    who: str
    verb: str
    detail: str
    after: S
    is_needed: bool = True
    """Whether a state is not at rest while this can happen: not so for faults."""

    def __str__(self) -> str:
        return f"{self.who} {self.verb} {self.detail}".rstrip()


class Model(Protocol[S]):
    """What can be searched. The rules are told as sentences; an empty one is a rule kept."""

    def start(self) -> S:
        """Return the first state."""
        ...

    def steps(self, state: S) -> Iterator[Step[S]]:
        """Yield all that may happen in `state`."""
        ...

    def broken(self, state: S) -> str:
        """Return which rule `state` breaks."""
        ...

    def left_undone(self, state: S) -> str:
        """Return what is missing in `state`, in which nothing more needs to happen."""
        ...


class Found(NamedTuple):
    """What a search found: a broken rule and the shortest way to it, or that there is none."""

    states: int
    seconds: float
    verbs: frozenset[str]
    rule: str = ""
    way: tuple[str, ...] = ()

    def __str__(self) -> str:
        size = f"{self.states:,} states in {self.seconds:.1f} s"
        return f"broken in {len(self.way)} steps, after {size}:\n{self.told}" if self.rule else f"holds: {size}"

    @property
    def told(self) -> str:
        """The way, a step a line, and the rule that its end breaks."""
        lines = [f"{number:3}. {step}" for number, step in enumerate(self.way, 1)]
        return "\n".join([*lines, f"     -> {self.rule}"])


def search(model: Model[S], most: int = MOST_STATES) -> Found:
    """Visit all states of `model`; stop at the first that breaks a rule. Beyond `most` states it raises."""
    began = time.monotonic()
    gc.disable()  # nothing is garbage until the end, and to look for it takes as long as the search
    try:
        found = _search(model, most)
    finally:
        gc.enable()
    return found._replace(seconds=time.monotonic() - began)


def _search(model: Model[S], most: int) -> Found:
    start = model.start()
    came_by: dict[S, tuple[S, Step[S]] | None] = {start: None}
    came_from: defaultdict[S, list[S]] = defaultdict(list)
    rests: list[S] = []
    waiting = deque([start])
    verbs: set[str] = set()
    while waiting:
        state = waiting.popleft()
        rule = model.broken(state)
        is_at_rest = not rule
        for step in () if rule else model.steps(state):
            verbs.add(step.verb)
            if step.is_needed:
                is_at_rest = False
                came_from[step.after].append(state)
            if step.after not in came_by:
                came_by[step.after] = state, step
                waiting.append(step.after)
        if is_at_rest:
            rests.append(state)
            rule = model.left_undone(state)
        if rule:
            return Found(len(came_by), 0.0, frozenset(verbs), rule, _way(came_by, state))
        if len(came_by) > most:
            raise TooManyStates(f"more than {most:,} states: the model needs a smaller bound")
    if restless := _restless(came_by, came_from, rests):
        return Found(len(came_by), 0.0, frozenset(verbs), "it can never come to rest again", _way(came_by, restless[0]))
    return Found(len(came_by), 0.0, frozenset(verbs))


def _restless(states: Iterable[S], came_from: Mapping[S, list[S]], rests: Iterable[S]) -> list[S]:
    """Return the states from which no needed steps lead to rest, nearest first."""
    waiting = list(rests)
    settled = set(waiting)
    while waiting:
        for state in came_from.get(waiting.pop(), ()):
            if state not in settled:
                settled.add(state)
                waiting.append(state)
    return [state for state in states if state not in settled]


def _way(came_by: dict[S, tuple[S, Step[S]] | None], state: S) -> tuple[str, ...]:
    way: list[str] = []
    while (entry := came_by[state]) is not None:
        state, step = entry
        way.append(str(step))
    return tuple(way[::-1])


def added(parts: tuple[Any, ...], part: Any) -> tuple[Any, ...]:
    """Return the parts and one more, in order: states that differ in the order of their parts only are one state."""
    return tuple(sorted([*parts, part]))


def removed(parts: tuple[Any, ...], part: Any) -> tuple[Any, ...]:
    """Return the parts without one of them."""
    left = list(parts)
    left.remove(part)
    return tuple(left)


def renewed(parts: tuple[Any, ...], part: Any) -> tuple[Any, ...]:
    """Return the parts with this one in the place of the one of its name."""
    return tuple(part if each.name == part.name else each for each in parts)
