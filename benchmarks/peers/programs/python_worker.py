"""The command line of the workers that are written in Python; what they do is in worker.py of the peer's folder.

Run by the Python of the peer's own environment: `python python_worker.py FOLDER create|insert|work URL ...`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path


def dues(count: int, due: float, spread: float) -> list[float]:
    """Return when each job is due, in milliseconds since 1970; 0 is at once."""
    return [due + number * spread / count if due else 0.0 for number in range(count)]


def main() -> None:
    """Do what the command line says."""
    folder = Path(__file__).parent / sys.argv.pop(1)
    sys.path[0] = str(folder)  # not the folder above, where a peer's folder has the name of its library
    worker = importlib.import_module("worker")
    words = _words()
    if words.command == "create":
        worker.create(words.url)
    elif words.command == "insert":
        worker.insert(words.url, dues(words.count, words.due, words.spread), words.mode)
    else:
        seen: list[tuple[float, float]] = []
        worker.work(
            words.url, words.mode, seen if words.record else None, **({"has_history": True} if words.history else {})
        )
        if words.record:
            words.record.write_text("".join(f"{due:.3f},{started:.3f}\n" for due, started in seen))


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    create, insert, work = (commands.add_parser(name) for name in ("create", "insert", "work"))
    for each in (create, insert, work):
        each.add_argument("url")
    for each in (insert, work):
        each.add_argument("--mode", choices=["best", "default"], default="best")
    insert.add_argument("--count", type=int, required=True)
    insert.add_argument("--due", type=float, default=0)
    insert.add_argument("--spread", type=float, default=0)
    work.add_argument("--record", type=Path)
    work.add_argument("--history", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
