"""`make sbom`: what the image's Python is made of, as CycloneDX: dist/scheduledjobs-VERSION.cdx.json.

From the pins and nothing else, so that it needs no network and the same commit gives the same bytes. The hashes are
those that pip holds each download against.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from dev.processes import say

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / ".venv" / "release" / "bin" / "cyclonedx-py"
PINS = ROOT / "requirements" / "run.txt"


def version() -> str:
    """Return the version of the program, of the one place where it is written."""
    text = (ROOT / "operator" / "scheduledjobs" / "__init__.py").read_text()
    (found,) = re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    return str(found)


def write(target: Path) -> None:
    """Write the SBOM; `SystemExit` with what the program said if it fails."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    with tempfile.TemporaryDirectory() as folder:
        made, root = Path(folder) / "made.json", Path(folder) / "pyproject.toml"
        described = {"name": project["name"], "version": version(), "description": project["description"]}
        root.write_text("[project]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in described.items()))
        command = [str(PROGRAM), "requirements", str(PINS), "--pyproject", str(root), "--output-reproducible"]
        command += ["--spec-version", "1.6", "--output-file", str(made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"scheduledjobs: cyclonedx-py failed: {done.stderr}")
        bom = json.loads(made.read_text())
    _name_what_we_asked_for(bom, project["dependencies"])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(bom, indent=2, sort_keys=True) + "\n")


def _name_what_we_asked_for(bom: dict[str, Any], dependencies: list[str]) -> None:
    """Let the root depend on what pyproject.toml names; the program cannot know which of the pins these are."""
    names = {re.split(r"[\[<>=!~; ]", each, maxsplit=1)[0] for each in dependencies}
    refs = sorted(each["bom-ref"] for each in bom["components"] if each["name"] in names)
    root = bom["metadata"]["component"]["bom-ref"]
    rest = [each for each in bom.get("dependencies", []) if each["ref"] != root]
    bom["dependencies"] = [{"ref": root, "dependsOn": refs}, *rest]


if __name__ == "__main__":
    file = ROOT / "dist" / f"scheduledjobs-{version()}.cdx.json"
    write(file)
    say(f"wrote {file.relative_to(ROOT)}")
