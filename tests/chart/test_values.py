"""The chart's values at the edges of what its schema admits."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from tests.chart.test_chart import CHART, HELMS, MONITORED, Strict, helm, of


def named(name: str, *, is_demo: bool) -> list[str]:
    """Render everything that takes a name with this one: release, namespaces, Secrets, keys. A manifest a text."""
    secret = {"existingSecret": name, "key": name}
    database = {**secret, "caSecret": {"name": name, "key": name}}
    values: dict[str, Any] = {
        "nameOverride": name,
        "watchNamespaces": [name],
        "image": {"repository": name},
        "imagePullSecrets": [{"name": name}],
        "priorityClassName": name,
        "serviceAccount": {"name": name},
        "sqlConnections": secret,
        "handlers": {"configMap": name},
        "credentials": [{"name": name, "namespaces": [name], "existingSecret": name}],
        "notices": {"webhooks": secret},
        "web": {"ingress": {"enabled": True, "className": name, "host": name}},
        "podLabels": {"a": name},
        "nodeSelector": {"a": name},
    }
    if is_demo:
        values["demoPostgres"] = {"enabled": True, "image": name, "storage": "1", "storageClass": name}
    else:
        values |= {"database": database, "migrate": secret}
    words = [word for key, value in values.items() for word in ("--set-json", f"{key}={json.dumps(value)}")]
    text = helm(HELMS[0], "template", name, str(CHART), "-n", name, "--kube-version", "1.37.2", *words, *MONITORED[4:])
    items = [item for item in yaml.load_all(text.stdout, Strict) if item]
    for item in of(items, "Secret"):
        item.pop("stringData")  # a random password
    return [json.dumps(item) for item in items]


@pytest.mark.parametrize("is_demo", [False, True])
@pytest.mark.parametrize("name", ["no", "123", "1e3", "null"])
def test_a_name_that_yaml_takes_for_something_else_stays_a_name(name: str, is_demo: bool) -> None:  # noqa: FBT001
    plain = [text.replace("placeholder", name) for text in named("placeholder", is_demo=is_demo)]
    assert sorted(named(name, is_demo=is_demo)) == sorted(plain)
