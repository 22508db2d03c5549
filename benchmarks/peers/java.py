"""Programs of Java peers: built once with Maven, in the cache, from programs/<peer> and what programs/java shares."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from dev.processes import locked, say

from benchmarks.peers.peer import PROGRAMS, cache

GOALS = ["compile", "dependency:copy-dependencies"]
QUIET = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"


def program(folder: str, main: str) -> Callable[[], list[str]]:
    """Return what builds programs/`folder` where it is not built, and returns how its class `main` is started."""
    return lambda: _command(folder, main)


def _command(folder: str, main: str) -> list[str]:
    java, maven = _tool("java"), _tool("mvn")
    sources = [*sorted((PROGRAMS / "java").glob("*.java")), *sorted((PROGRAMS / folder).iterdir())]
    key = hashlib.sha256(b"".join(each.read_bytes() for each in sources)).hexdigest()[:12]
    home = cache() / f"{folder}-{key}"
    with locked(home.with_suffix(".lock")):
        if not (home / "ready").exists():
            say(f"building {folder} with Maven, once (about 1 min where its libraries have to be fetched)")
            _build(maven, home, sources)
    return [java, QUIET, "-cp", f"{home / 'target' / 'classes'}:{home / 'target' / 'libraries'}/*", main]


def _build(maven: str, home: Path, sources: list[Path]) -> None:
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    for each in sources:
        shutil.copy(each, home)
    command = [maven, "--batch-mode", "--quiet", "-Dstyle.color=never", "--file", str(home / "pom.xml"), *GOALS]
    if subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode:
        raise SystemExit(f"scheduledjobs: building {home} failed; what Maven said is above")
    (home / "ready").touch()


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        hint = "Debian: apt-get install default-jdk-headless maven"
        raise SystemExit(f"scheduledjobs: there is no {name} on this machine, which this peer needs; {hint}")
    return found


def release(folder: str, artifact: str) -> str:
    """Return the version of a library that a peer's pom.xml pins; LookupError if it pins none."""
    pom = (PROGRAMS / folder / "pom.xml").read_text()
    found = re.search(rf"<artifactId>{re.escape(artifact)}</artifactId>\s*<version>([^<$]+)</version>", pom)
    if found is None:
        raise LookupError(f"{folder}/pom.xml does not pin {artifact}")
    return found.group(1)


def language() -> str:
    """Return "Java" with the version of the machine's, as its own file says; no process is started for it."""
    java = shutil.which("java")
    file = Path(java).resolve().parents[1] / "release" if java else None
    found = re.search(r'^JAVA_VERSION="([^"]+)"', file.read_text(), re.MULTILINE) if file and file.exists() else None
    return f"Java {found.group(1)}" if found else "Java"
