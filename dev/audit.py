"""Known vulnerabilities of what the image is made of, by pip-audit: `make audit`, and as a part of `make check`.

A known one fails. Where the service does not answer, `make check` says so in a line and passes; `make audit` fails, for
whoever wants to know. An index that mirrors packages only has nothing to say of any of them, which pip-audit takes for
a clean bill; here it is no answer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.processes import exit_with, say

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / ".venv" / "release" / "bin" / "pip-audit"
REQUIREMENTS = ("run.txt", "build.txt")
"""What is in the image and what makes its wheel."""

CHECK_SECONDS, AUDIT_SECONDS = 10.0, 120.0
ACCEPTED: dict[str, str] = {}
"""Vulnerabilities that do not concern us: the id, and why."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found: a line for each vulnerability, and how many of all packages there was an answer for."""

    found: tuple[str, ...] = ()
    answered: int = 0
    asked: int = 0
    why_not: str = ""
    """What kept it from an answer."""

    @property
    def text(self) -> str:
        """One line that says how far it got."""
        if not self.answered:
            return f"audit skipped: {self.why_not or 'the vulnerability service knows none of the packages'}"
        silent = self.asked - self.answered
        rest = f", nothing is known of {silent} more" if silent else ""
        return f"audited {self.answered} packages, {len(self.found)} known vulnerabilities{rest}"


def judge(report: str, errors: str = "") -> Verdict:
    """Read pip-audit's JSON report; where there is none, the last line of what it said."""
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        said = errors.strip().splitlines()
        return Verdict(why_not=said[-1][:200] if said else "pip-audit said nothing")
    answered = [package for package in packages if "skip_reason" not in package]
    return Verdict(tuple(line for each in answered for line in _lines(each)), len(answered), len(packages))


def _lines(package: dict[str, Any]) -> Iterator[str]:
    for each in package.get("vulns", []):
        names = {each["id"], *each.get("aliases", [])}
        if not names & ACCEPTED.keys():
            fixed = ", ".join(each.get("fix_versions", [])) or "no release yet"
            yield f"{package['name']} {package['version']}: {', '.join(sorted(names))}; mended in {fixed}"


def audit(seconds: float, files: list[Path], *words: str) -> Verdict:
    """Ask about every pinned package, for so many seconds at most; nothing is installed or built for it."""
    requirements = [word for file in files for word in ("--requirement", str(file))]
    command = [str(PROGRAM), "--disable-pip", "--require-hashes", *requirements, *words]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", "5"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        return Verdict(why_not=f"the vulnerability service took longer than {seconds:g} s")
    return judge(done.stdout, done.stderr)


def main() -> int:
    """Audit; AUDIT_OSV is the address of an OSV service to ask instead of the index, AUDIT_SECONDS the limit."""
    is_check = sys.argv[1:] == ["check"]
    service = os.environ.get("AUDIT_OSV")
    words = ("--vulnerability-service", "osv", "--osv-url", service) if service else ()
    files = [ROOT / "requirements" / name for name in REQUIREMENTS]
    limit = float(os.environ.get("AUDIT_SECONDS") or (CHECK_SECONDS if is_check else AUDIT_SECONDS))
    verdict = audit(limit, files, *words)
    for line in verdict.found:
        say(line)
    say(verdict.text)
    return 1 if verdict.found or not (verdict.answered or is_check) else 0


if __name__ == "__main__":
    exit_with(main)
