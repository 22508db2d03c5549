"""SECURITY.md says what is so: each threat names a test that exists, and nothing turns text into code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text()
SOURCES = sorted((ROOT / "operator").rglob("*.py"))
TOPICS = {
    "SSRF", "confused deputy", "secrets", "SQL by payload", "code by payload", "floods", "log injection",
    "header injection", "XSS", "CSRF", "REST", "stale leader", "hostile object",
    "kubernetes-job", "notices",
}  # fmt: skip
CALLS = {"eval", "exec", "compile", "__import__", "Template", "from_string", "unsafe_load", "full_load"}
MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "code", "codeop"}


def threats() -> list[tuple[str, str, str]]:
    table = PAGE.split("| threat | what holds it | test |", 1)[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    return [(threat, holds, test) for threat, holds, test in rows[1:]]


@pytest.mark.parametrize("name", sorted({test for _, _, test in threats()}))
def test_every_threat_names_a_test_that_exists(name: str) -> None:
    file, _, function = name.partition("::")
    found = ast.parse((ROOT / file).read_text()).body
    assert function in {node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_threat_is_told_once_and_every_kind_of_them() -> None:
    told = [threat for threat, _, _ in threats()]
    assert len(told) == len(set(told)) > len(TOPICS)
    assert {threat.partition(":")[0] for threat in told} >= TOPICS
    assert all(holds for _, holds, _ in threats())


def turned_into_code(text: str) -> list[str]:
    """Return what in a source text can make code of data."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            is_plain = isinstance(node.func, ast.Name) or name not in {"compile", "exec"}  # re.compile makes no code
            if (name in CALLS and is_plain) or ast.unparse(node.func) in {"yaml.load", "os.system", "os.popen"}:
                found.append(ast.unparse(node.func))
            found += ["shell" for keyword in node.keywords if keyword.arg == "shell"]
            found += [name] if name == "create_subprocess_shell" else []
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found += [name for name in names if name.partition(".")[0] in MODULES]
    return found


def test_nothing_turns_text_into_code() -> None:
    assert {path.name: found for path in SOURCES if (found := turned_into_code(path.read_text()))} == {}


@pytest.mark.parametrize(
    "text",
    [
        "eval(x)", "exec(x)", "compile(x, '', 'exec')", "import pickle", "from marshal import loads", "yaml.load(x)",
        "yaml.unsafe_load(x)", "jinja2.Template(x)", "environment.from_string(x)", "subprocess.run(x, shell=True)",
        "os.system(x)", "asyncio.create_subprocess_shell(x)",
    ],
)  # fmt: skip
def test_what_turns_text_into_code_is_found(text: str) -> None:
    assert turned_into_code(text)
    assert turned_into_code("re.compile(x)\nyaml.safe_load(x)") == []
