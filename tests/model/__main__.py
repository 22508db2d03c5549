"""`python -m tests.model` searches all cases and prints what is found; with `deep`, larger models, for minutes."""

from __future__ import annotations

import sys

from tests.model.cases import ALONE, BACKED_UP, DEEP, MENDED, STRICTER, TOGETHER, WHOLE, Case
from tests.model.search import search

PARTS = {
    "With all guards": WHOLE,
    "Without a guard": ALONE,
    "Without a guard that others back up": BACKED_UP,
    "Without a guard and what backs it up": TOGETHER,
    "Rules stricter than the promises": STRICTER,
    "What would keep these": MENDED,
}
MOST_DEEP = 3_000_000


def main(arguments: list[str]) -> int:
    """Return 0 if each case is as expected, else 1."""
    parts: dict[str, list[Case]] = {"With all guards, deep": DEEP} if arguments == ["deep"] else PARTS
    surprises = 0
    for title, cases in parts.items():
        print(f"\n{title}\n")
        for case in cases:
            found = search(case.model, MOST_DEEP)
            print(f"{case.name}: {found}", flush=True)
            surprises += case.breaks not in found.rule if case.breaks else bool(found.rule)
    print(f"\n{surprises} of these are not as expected" if surprises else "\nall as expected")
    return 1 if surprises else 0


sys.exit(main(sys.argv[1:]))
