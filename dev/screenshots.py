"""Pictures of the pages for docs/images: `python -m dev.screenshots`, and look at each before it is committed.

The browser tests take them, of three real replicas with jobs of every state: wide and light, narrow and dark.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from dev.processes import say

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
LARGEST = 150 * 1024
CHOSEN = ("overview", "jobs", "job", "history", "execution", "timeline", "cluster", "new-filled", "login")
SHAPES = {"1280-light": "", "390-dark": "-phone"}


def main() -> int:
    """Take the pictures, and keep those that the docs show."""
    with TemporaryDirectory() as folder:
        environment = {**os.environ, "SCHEDULEDJOBS_BROWSER": "1", "SCHEDULEDJOBS_TEST_SHOTS": folder}
        tests = ["-m", "pytest", "-q", "--show-capture=no", "tests/browser/test_every_page.py"]
        done = subprocess.run([sys.executable, *tests], cwd=ROOT, env=environment, check=False)
        if done.returncode:
            return done.returncode
        IMAGES.mkdir(parents=True, exist_ok=True)
        for name in CHOSEN:
            for shape, suffix in SHAPES.items():
                _keep(Path(folder) / f"{name}-{shape}.png", IMAGES / f"{name.removesuffix('-filled')}{suffix}.png")
    return 0


def _keep(taken: Path, kept: Path) -> None:
    size = taken.stat().st_size
    if size > LARGEST:
        say(f"{kept.name} is {size // 1024} KB: too large to keep, so it is left as it was")
        return
    shutil.copyfile(taken, kept)


if __name__ == "__main__":
    sys.exit(main())
