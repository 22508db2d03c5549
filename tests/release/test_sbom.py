"""The SBOM has what the image installs, and is the same each time."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from dev.sbom import PINS, PROGRAM, write

import scheduledjobs

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="needs .venv/release: make .venv/release/ready")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    made = [tmp_path_factory.mktemp("sbom") / name for name in ("first.json", "second.json")]
    for file in made:
        write(file)
    return made


@pytest.fixture(scope="module")
def bom(files: list[Path]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files[0].read_text())
    return found


def pins() -> dict[str, set[str]]:
    """name==version of requirements/run.txt, each with its hashes."""
    found: dict[str, set[str]] = {}
    for line in PINS.read_text().splitlines():
        if pin := re.match(r"([a-z0-9][^ \[]*)(?:\[.*\])?(==[^ ]+)", line):
            hashes = found.setdefault("".join(pin.groups()), set())
        elif digest := re.search(r"--hash=sha256:([0-9a-f]{64})", line):
            hashes.add(digest.group(1))
    return found


def test_it_is_the_same_each_time(files: list[Path]) -> None:
    assert files[0].read_bytes() == files[1].read_bytes()


def test_it_has_every_pin_with_its_hashes_and_no_other(bom: dict[str, Any]) -> None:
    components = {
        f"{each['name']}=={each['version']}": {
            digest["content"] for place in each["externalReferences"] for digest in place.get("hashes", [])
        }
        for each in bom["components"]
    }
    assert len(components) > 40
    assert components == pins()


def test_it_names_the_program_and_what_that_asks_for(bom: dict[str, Any]) -> None:
    root = bom["metadata"]["component"]
    assert (root["name"], root["version"]) == ("scheduledjobs", scheduledjobs.__version__)
    names = {each["bom-ref"]: each["name"] for each in bom["components"]}
    (asked,) = [each["dependsOn"] for each in bom["dependencies"] if each["ref"] == root["bom-ref"]]
    assert {"psycopg", "kopf", "fastapi", "kubernetes"} <= {names[ref] for ref in asked}
    assert len(asked) == len(
        Path(PINS.parents[1] / "pyproject.toml")
        .read_text()
        .split("dependencies = [")[1]
        .split("]\n")[0]
        .strip()
        .splitlines()
    )
