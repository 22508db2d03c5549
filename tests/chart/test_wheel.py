"""The wheel, which the image installs: it has every file of the package, templates and queries too, and the schema."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "operator" / "scheduledjobs"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_it_has_every_file_of_the_package(packed: set[str]) -> None:
    files = {file.relative_to(PACKAGE.parent).as_posix() for file in PACKAGE.rglob("*") if file.is_file()}
    files = {name for name in files if "__pycache__" not in name}
    assert files - packed == set()


def test_it_has_the_schema(packed: set[str]) -> None:
    names = {f"scheduledjobs/_migrations/{file.name}" for file in (ROOT / "migrations").glob("*.sql")}
    assert names
    assert names - packed == set()
