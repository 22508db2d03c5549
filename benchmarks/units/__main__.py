"""`python -m benchmarks.units U2`: one unit of the goals, its table, and the verdict against gate and goal.

A real API server, etcd and PostgreSQL on this machine, all of which share its cores: compare figures only within one
run. Options make a unit small; what is measured then says nothing of the goals.
"""

from __future__ import annotations

import argparse
from types import ModuleType

from dev.processes import exit_with

from benchmarks.bench import servers
from benchmarks.figures import HEAD, Figure, table
from benchmarks.postgres import setup
from benchmarks.units import u1, u2, u3, u4, u5, u6, u7

UNITS: dict[str, ModuleType] = {"U1": u1, "U2": u2, "U3": u3, "U4": u4, "U5": u5, "U6": u6, "U7": u7}

BESIDE = frozenset({"unit", "options", "runs", "jobs", "floor_count", "settle_minutes"})
"""What does not change what a figure means."""


def title(unit: ModuleType) -> str:
    """Return what a unit says of itself, on one line."""
    return " ".join((unit.__doc__ or "").split())


def changed(words: argparse.Namespace) -> list[str]:
    """Return the options by which a run is not the one that the goals mean: `--count 500`; a part of several is not."""
    own = {name: value for name, value in vars(words).items() if name not in BESIDE}
    known = {name: words.options.get_default(name) for name in own}
    return [
        f"--{name.replace('_', '-')} {' '.join(map(str, _listed(value)))}"
        for name, value in own.items()
        if not set(_listed(value)) <= set(_listed(known[name]))
    ]


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def report(words: argparse.Namespace, figures: list[Figure]) -> str:
    """Return a unit's title and its table, and that it was not run as the goals mean it where it was not."""
    lines = [title(UNITS[words.unit]), table(HEAD, [figure.cells() for figure in figures])]
    if options := changed(words):
        lines.append(f"not run as the goals mean it ({', '.join(options)}): the verdicts say little")
    return "\n".join(lines) + "\n"


def parser() -> argparse.ArgumentParser:
    """Return the command line: a unit, and its options."""
    found = argparse.ArgumentParser(prog="python -m benchmarks.units", description=__doc__)
    units = found.add_subparsers(dest="unit", required=True, metavar="UNIT")
    for name, module in UNITS.items():
        unit = units.add_parser(name, help=title(module).replace("%", "%%"), description=title(module))
        module.add_arguments(unit)
        unit.set_defaults(options=unit)
    return found


def main() -> None:
    """Run one unit."""
    words = parser().parse_args()
    with servers() as bench:
        print(f"setup: {setup(bench.server_url)}, API server and etcd beside it", flush=True)
        print(report(words, UNITS[words.unit].run(bench, words)), flush=True)


if __name__ == "__main__":
    exit_with(main)
