"""The chart's values at the edges of what its schema admits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dev.build import HELMS
from dev.chart_docs import CHART
from dev.controlplane import ControlPlane
from tests.chart.test_chart import DEMO, MONITORED, SECRET, Strict, helm, of, pod_of, rendered


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


def test_the_greatest_numbers_of_a_values_file_are_written_as_settings_read_them(tmp_path: Path) -> None:
    """Helm reads a number of a file as a float, which it writes as 1e+06."""
    known = json.loads((CHART / "values.schema.json").read_text())["properties"]["operator"]["properties"]
    greatest = {key: one["maximum"] for key, one in known.items() if one.get("type") == "integer"}
    (tmp_path / "values.yaml").write_text(json.dumps({"operator": greatest}))
    for name in HELMS:
        items = rendered((*SECRET, "-f", str(tmp_path / "values.yaml")), name)
        (container,) = pod_of(items)["spec"]["containers"]
        env = {entry["name"].removeprefix("SCHEDULEDJOBS_"): entry.get("value") for entry in container["env"]}
        told = {key: env[re.sub("([A-Z])", r"_\1", key).upper()] for key in greatest}
        assert told == {key: str(number) for key, number in greatest.items()}


@pytest.mark.parametrize("name", HELMS)
def test_every_pod_of_the_release_goes_where_the_operator_may(name: str) -> None:
    """On tainted nodes, `helm test` of a healthy release would wait for a pod that nothing takes."""
    values = {
        "nodeSelector": {"pool": "jobs"},
        "tolerations": [{"key": "jobs", "operator": "Exists"}],
        "priorityClassName": "high",
        "resources": {"requests": {"cpu": "10m", "memory": "1Mi"}, "limits": {"cpu": "1", "memory": "2Mi"}},
        "demoPostgres": {"enabled": True},
    }
    items = rendered(tuple(w for k, v in values.items() for w in ("--set-json", f"{k}={json.dumps(v)}")), name)
    (postgres,), (smoke,) = of(items, "StatefulSet"), of(items, "Pod")
    for spec in (pod_of(items)["spec"], postgres["spec"]["template"]["spec"], smoke["spec"]):
        assert {key: spec.get(key) for key in ("nodeSelector", "tolerations", "priorityClassName")} == {
            key: values[key] for key in ("nodeSelector", "tolerations", "priorityClassName")
        }
    assert smoke["spec"]["containers"][0].get("resources") == values["resources"]  # a quota may ask for them


@pytest.mark.parametrize("value", ["fullnameOverride=a.b", "fullnameOverride=1a", "nameOverride=a.b"])
def test_a_name_that_no_service_may_have_is_refused(value: str) -> None:
    for name in HELMS:
        words = ("template", "release", str(CHART), "--kube-version", "1.37.2", *SECRET, "--set", value)
        done = helm(name, *words, check=False)
        assert done.returncode != 0
        assert value.partition("=")[0] in done.stderr


OFF = ("--set", "web.enabled=false")


@pytest.mark.parametrize(
    ("release", "version", "words", "is_taken"),
    [
        ("a.b", "1.37.2", SECRET, False),
        ("a.b", "1.37.2", (*MONITORED, *OFF), False),
        ("a.b", "1.37.2", (*DEMO, *OFF), False),
        ("a.b", "1.37.2", (*SECRET, *OFF), True),  # it has no Service
        ("a.b", "1.37.2", (*SECRET, "--set", "fullnameOverride=jobs"), True),
        ("1a", "v1.35.9-eks-1", SECRET, False),
        ("1a", "v1.36.0-eks-1", SECRET, True),  # a Service may begin with a digit from here on
    ],
)
@pytest.mark.parametrize("name", HELMS)
def test_a_release_name_that_gives_a_service_no_name_is_refused_with_what_to_do(
    *, name: str, release: str, version: str, words: tuple[str, ...], is_taken: bool
) -> None:
    done = helm(name, "template", release, str(CHART), "--kube-version", version, *words, check=False)
    assert (done.returncode == 0) is is_taken, done.stderr
    said = f"no Service may be named {release}-scheduledjobs, after this release: set fullnameOverride to a name"
    assert (said in done.stderr) is not is_taken, done.stderr


def test_the_api_server_takes_a_service_of_the_names_that_the_chart_takes_for_it(cluster: ControlPlane) -> None:
    for release, is_taken in (("1a", True), ("a.b", False)):
        done = helm(HELMS[0], "template", release, str(CHART), "--kube-version", "1.37.2", *SECRET, check=False)
        assert (done.returncode == 0) is is_taken
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"{release}-scheduledjobs"}}
        text = json.dumps({**service, "spec": {"ports": [{"port": 80}]}})
        words = ("create", "--dry-run=server", "-f", "-")
        if is_taken:
            assert "created (server dry run)" in cluster.kubectl(*words, stdin=text).stdout
        else:
            assert "is invalid: metadata.name" in cluster.kubectl(*words, stdin=text, check=False).stderr


@pytest.mark.parametrize("length", [8, 43, 44, 52, 63])
def test_the_pods_of_the_demo_database_can_be_made_however_long_the_name(length: int) -> None:
    """A pod's label controller-revision-hash is the name of its StatefulSet and eleven characters, 63 at most."""
    fullname = "a" * (length - 2) + "-b"
    items = rendered((*DEMO, "--set", f"fullnameOverride={fullname}"))
    (postgres,), (secret,) = of(items, "StatefulSet"), of(items, "Secret")
    name = postgres["metadata"]["name"]
    assert len(name) <= 63 - 11
    assert name == f"{fullname}-postgres" or length > 43
    assert "--" not in name
    assert (postgres["spec"]["serviceName"], secret["metadata"]["name"]) == (name, name)
    assert name in {one["metadata"]["name"] for one in of(items, "Service")}
