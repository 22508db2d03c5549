"""gitops/argocd/argocd-cm.yaml: the scripts beside it as a patch of Argo CD's ConfigMap; `make docs` writes it."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

FOLDER = Path(__file__).parents[1] / "gitops" / "argocd"
PAGE = FOLDER / "argocd-cm.yaml"
ACTIONS = ("run", "pause", "resume")
KIND = "scheduledjobs.dev_ScheduledJob"
HEAD = f"""# Made from health.lua and actions/*.lua by `make docs`. Apply it with:
#   kubectl patch configmap argocd-cm -n argocd --patch-file gitops/argocd/argocd-cm.yaml
data:
  resource.customizations.health.{KIND}: |
"""


def page() -> str:
    """Return the patch, a key for the health and one for the actions."""
    actions = FOLDER / "actions"
    parts = [HEAD, _script(FOLDER / "health.lua", 4), f"  resource.customizations.actions.{KIND}: |\n"]
    parts += ["    discovery.lua: |\n", _script(actions / "discovery.lua", 6), "    definitions:\n"]
    for name in ACTIONS:
        parts += [f"      - name: {name}\n        action.lua: |\n", _script(actions / f"{name}.lua", 10)]
    return "".join(parts)


def _script(path: Path, spaces: int) -> str:
    return indent(path.read_text(), " " * spaces)


if __name__ == "__main__":
    PAGE.write_text(page())
