"""The README says what works: its commands exist, its manifest is accepted, its handler is one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from scheduledjobs.cli.main import COMMANDS
from scheduledjobs.core.job import read_schedule
from scheduledjobs.core.spec import parse_spec
from scheduledjobs.handlers import Handler

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_every_make_target_that_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"\bmake ([a-z]+)\b", README)) - {"sure"}
    assert {"demo", "test", "up", "down"} <= named
    assert named - targets - {"git"} == set()


def test_every_command_that_it_names_exists() -> None:
    named = set(re.findall(r"bin/scheduledjobs ([a-z]+)", README))
    assert {"run", "next", "handlers"} <= named
    assert named - COMMANDS.keys() == set()


def test_its_manifest_is_one_that_works() -> None:
    (text,) = re.findall(r"<<EOF\n(.*?)EOF", README, re.S)
    manifest = yaml.safe_load(text)
    assert read_schedule(parse_spec(manifest["spec"])).text == "0 2 * * *"


def test_its_handler_is_one() -> None:
    (text,) = re.findall(r"```python\n(.*?)```", README, re.S)
    names: dict[str, Any] = {"__name__": "readme"}
    exec(text, names)
    found: Handler = names["report"].__scheduledjobs_handler__
    assert found.name == "report"
    assert found.is_async


def test_every_example_is_a_manifest_that_works() -> None:
    files = sorted((ROOT / "examples").glob("*.yaml"))
    assert len(files) >= 6
    for file in files:
        read_schedule(parse_spec(yaml.safe_load(file.read_text())["spec"]))
