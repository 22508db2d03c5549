"""The reference of the command line, made from its parsers: `python -m dev.cli_docs` writes it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from dev.markdown import table
from scheduledjobs.cli.main import COMMANDS, EPILOG, group

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"
HEAD = """# The command `scheduledjobs`

Made from the code by `make docs`; `--help` says the same. As a kubectl plugin it is `kubectl scheduledjobs COMMAND`.
[How to install it, or run it in the operator's pod](../howto/command-line.md).
"""


def page() -> str:
    """Return the page."""
    root = click.Context(group, info_name="scheduledjobs")
    lines = [HEAD, EPILOG, ""]
    lines += table(["command", "what it does"], ([_link(name), said] for name, said in COMMANDS.items()))
    for name in COMMANDS:
        command = group.get_command(root, name)
        assert command is not None
        lines += _command(click.Context(command, info_name=name, parent=root))
    return "\n".join(lines).rstrip() + "\n"


def _link(name: str) -> str:
    return f"[{name}](#scheduledjobs-{name})"


def _command(context: click.Context) -> Iterator[str]:
    command = context.command
    yield f"## {context.command_path}"
    yield ""
    yield "```console"
    yield f"$ {context.command_path} {' '.join(command.collect_usage_pieces(context))}"
    yield "```"
    yield ""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield " ".join(paragraph.split())
        yield ""
    records = (each.get_help_record(context) for each in command.params)
    rows = [record for record in records if record is not None and record[1]]  # the usage names the arguments
    if rows:
        yield from table(["option", "what it is"], ([f"`{option}`", said] for option, said in rows))
    if context.info_name == "run":
        yield "Its settings are environment variables: [settings.md](settings.md)."
        yield ""


if __name__ == "__main__":
    PAGE.write_text(page())
