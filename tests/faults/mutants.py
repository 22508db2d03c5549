"""`make mutants`: break one guard at a time, in a copy, and see that a test or a scenario turns red.

A guard whose removal nothing notices is either not needed or not tested.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("operator", "migrations", "tests", "dev", "crds", "charts", "examples", "docs", "pyproject.toml", "README.md")
TESTS_FAILED = 1
OPERATOR = "operator/scheduledjobs"


@dataclass(frozen=True)
class Mutant:
    """One deliberate break: `old` in `file` becomes `new`, `added` stands at its end, and `tests` must turn red."""

    name: str
    file: str
    old: str
    new: str
    tests: str
    added: str = ""


MUTANTS = (
    Mutant(
        "the term is not checked in a leader's writes",
        f"{OPERATOR}/store/leadership.py",
        "            await check_term(conn, self.term, self.holder)\n",
        "",
        "tests/faults/test_api.py::test_the_leader_is_cut_off_from_the_api_server_only",
    ),
    Mutant(
        "no unique key on (job, moment, run key)",
        "migrations/0001_tables.sql",
        ",\n    UNIQUE (job_id, fire_time, run_key)\n",
        "\n",
        "tests/faults/test_trust.py::test_a_second_row_for_a_moment_is_refused",
    ),
    Mutant(
        "a completion does not look whose attempt it ends",
        f"{OPERATOR}/store/queries/complete_executions.sql",
        " AND e.claim_no = r.claim_no\n    AND CASE e.state WHEN 'RUNNING' THEN e.claimed_by = %(replica)s END",
        "",
        "tests/faults/test_handlers.py::test_a_worker_is_frozen_past_its_heartbeat_and_completes",
    ),
    Mutant(
        "a replica is declared dead while it may still trust itself",
        f"{OPERATOR}/steps/rescue.py",
        "DEAD_AFTER_SECONDS = 10.0",
        "DEAD_AFTER_SECONDS = 3.0",
        "tests/faults/test_trust.py::test_a_worker_that_is_silent_for_a_moment_is_not_given_up",
    ),
    Mutant(
        "a replica trusts itself for ever",
        f"{OPERATOR}/core/term.py",
        "TRUST_SECONDS = 8.0",
        "TRUST_SECONDS = 8e9",
        "tests/faults/test_trust.py::test_a_worker_that_is_cut_off_stops_before_its_work_is_given_to_another",
    ),
    Mutant(
        "a standby is taken for a database",
        f"{OPERATOR}/store/sessions.py",
        '        attrs = "primary"\n',
        "        pass\n",
        "tests/faults/test_standby.py::test_the_address_of_the_leader_leads_to_a_standby",
    ),
    Mutant(
        "what is live is read before the job is locked",
        f"{OPERATOR}/steps/fire.py",
        "            self._leader.write_after(lambda conn: advance_jobs(conn, rows)) as (conn, moved),",
        "            self._leader.write_after(lambda conn: _early(conn, rows)) as (conn, moved),",
        "tests/integration/test_overlap_order.py",
        "\n\nasync def _early(conn, rows):\n"
        "    from scheduledjobs.steps import overlap\n\n"
        "    live = await overlap.find_live_executions(conn, [row['id'] for row in rows])\n\n"
        "    async def found(_conn, ids):\n"
        "        return [row for row in live if row['job_id'] in ids]\n\n"
        "    overlap.find_live_executions = found\n"
        "    return await advance_jobs(conn, rows)\n",
    ),
)


def run(mutant: Mutant, folder: Path) -> tuple[bool, str]:
    """Break the copy, run the tests, mend the copy; return whether they turned red, and what the first one said."""
    file = folder / mutant.file
    text = file.read_text()
    if text.count(mutant.old) != 1:
        return False, f"{mutant.file} does not hold the text to break, once"
    file.write_text(text.replace(mutant.old, mutant.new) + mutant.added)
    environment = {
        **os.environ,
        "SCHEDULEDJOBS_FAULTS": "1",
        "PYTHONPATH": f"{folder / 'operator'}{os.pathsep}{folder}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--timeout", "900", *mutant.tests.split()]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    file.write_text(text)
    said = re.findall(r"^E +(.*)$|^(ERROR.*)$", done.stdout, re.MULTILINE)
    lines = [line for pair in said for line in pair if line]
    findings = [line for line in lines if re.match(r"(lost|doubled|attempts|overlap|stale term|early|not due): ", line)]
    return done.returncode == TESTS_FAILED, (findings or lines or ["nothing turned red"])[0]


def main(words: list[str]) -> int:
    """Run the mutants whose name holds one of `words`, or all; return how many were not noticed."""
    chosen = [each for each in MUTANTS if not words or any(word in each.name for word in words)]
    missed = 0
    with tempfile.TemporaryDirectory(prefix="scheduledjobs-mutants-") as name:
        folder = Path(name)
        for each in COPIED:
            copy = shutil.copytree if (ROOT / each).is_dir() else shutil.copy2
            copy(ROOT / each, folder / each)
        for mutant in chosen:
            print(f"{mutant.name} ...", flush=True)
            began = time.monotonic()
            is_red, said = run(mutant, folder)
            missed += not is_red
            verdict = "red" if is_red else "NOT NOTICED"
            print(f"  {verdict} in {time.monotonic() - began:.0f} s, by {mutant.tests.split('::')[-1]}\n  {said[:200]}")
    print(f"\n{len(chosen) - missed} of {len(chosen)} breaks turned something red")
    return missed


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
