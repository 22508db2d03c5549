"""The page docs/howto/handlers.md is true: its files work, its commands print what stands there."""

from __future__ import annotations

import os
from pathlib import Path

from tests.docs.shell import File, open_shell, steps

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "howto" / "handlers.md"


def test_the_page_prints_what_it_shows(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}
    followed = steps(PAGE.read_text())
    with open_shell(environment, tmp_path) as shell:
        for step in followed:
            if isinstance(step, File):
                (tmp_path / step.name).write_text(step.text)
            else:
                shell.follow(step)
    assert [step.name for step in followed if isinstance(step, File)] == ["reports.py", "test_reports.py"]
    assert len(followed) == 5
