"""The chart: what it renders under both Helms, what it refuses, and what a real API server says of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dev.build import HELMS, program
from dev.chart_docs import CHART, comments, readme, value_at
from dev.controlplane import ControlPlane

from scheduledjobs.core.quota import Quota, read_quotas
from scheduledjobs.handlers.credentials import allow_credentials
from scheduledjobs.settings import Settings

ROOT = CHART.parents[1]
CRD = "scheduledjobs.dev_scheduledjobs.yaml"
SECRET = ("--set", "database.existingSecret=db")
DEMO = ("--set", "demoPostgres.enabled=true")
CREDENTIALS: list[dict[str, Any]] = [
    {
        "name": "reports",
        "namespaces": ["finance"],
        "existingSecret": "api",
        "hosts": ["*.example.com", "http://a.svc:80"],
    },
    {"name": "pod", "namespaces": ["*"], "secret": "of-the-job"},
]
MATRIX = {
    "secret": SECRET,
    "demo": DEMO,
    "demo without a volume": (*DEMO, "--set", "demoPostgres.storage="),
    "namespaces": (*SECRET, "--set", "watchNamespaces={default,kube-public}"),
    "one replica": (*SECRET, "--set", "replicas=1"),
    "digest": (*SECRET, "--set", f"image.digest=sha256:{'a' * 64}"),
    "no crd": (*SECRET, "--set", "crds.install=false"),
    "crd not kept": (*SECRET, "--set", "crds.keep=false"),
    "nothing optional": (
        *SECRET,
        "--set", "rbac.create=false,rbac.aggregate=false,serviceAccount.create=false,networkPolicy.enabled=false",
        "--set", "podDisruptionBudget.enabled=false,metrics.annotations=false,web.enabled=false",
    ),
    "no dashboard": (*SECRET, "--set", "web.enabled=false"),
    "kubernetes-job": (*SECRET, "--set", "kubernetesJob.enabled=true,kubernetesJob.serviceAccounts={reporter,mailer}"),
    "dashboard for everybody": (*SECRET, "--set", "web.auth=none-for-everybody,web.ingress.enabled=true"),
    "everything": (
        *SECRET,
        "--set", "handlers.modules={mine.reports},handlers.configMap=mine,sqlConnections.existingSecret=sql",
        "--set", "imagePullSecrets[0].name=registry,priorityClassName=system-cluster-critical",
        "--set", "operator.httpAllow={10.0.0.0/8},podLabels.team=a,podAnnotations.b=c,nodeSelector.d=e",
        "--set", "tolerations[0].operator=Exists,extraEnv[0].name=A,extraEnv[0].value=b",
        "--set", "extraVolumes[0].name=more,extraVolumes[0].emptyDir.sizeLimit=1Mi",
        "--set", "extraVolumeMounts[0].name=more,extraVolumeMounts[0].mountPath=/more",
        "--set-json", 'networkPolicy.metricsFrom=[{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]',
        "--set-json", 'networkPolicy.egress=[{"ports": [{"port": 5432}]}]',
        "--set-json", 'networkPolicy.webFrom=[{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}]',
        "--set", "web.port=8081,web.service.type=LoadBalancer,web.service.port=8080,web.service.annotations.f=g",
        "--set", "web.ingress.enabled=true,web.ingress.className=nginx,web.ingress.host=jobs.example",
        "--set", "web.ingress.annotations.h=i",
        "--set-json", 'web.ingress.tls=[{"hosts": ["jobs.example"], "secretName": "jobs-tls"}]',
        "--set-json", 'affinity={"nodeAffinity": {}}',
        "--set-json", f"credentials={json.dumps(CREDENTIALS)}",
        "--set", "notices.webhooks.existingSecret=hooks,web.publicUrl=https://jobs.example",
        "--set-json", 'notices.rules=[{"webhook": "ops", "on": ["failure", "longRun"], "longRun": "30m"}]',
        "--set", "migrate.existingSecret=owner,migrate.key=url",
        "--set", "database.caSecret.name=db-ca,database.caSecret.key=root.crt",
        "--set-json", 'quotas={"*": {"jobs": 1000, "fires_per_second": 0.5}, "finance": {"running": 8}}',
    ),
}  # fmt: skip


class Strict(yaml.SafeLoader):
    """YAML as strict loaders (kustomize, Flux) read it: a key that stands twice is an error, not its last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001 PyYAML's
        keys = [key.value for key, _ in node.value]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"twice: {', '.join(twice)}", node.start_mark)
        return super().construct_mapping(node, deep)


def helm(name: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(program(name)), *words], capture_output=True, text=True, check=check)


def rendered(words: tuple[str, ...], name: str = HELMS[0]) -> list[dict[str, Any]]:
    text = helm(name, "template", "release", str(CHART), "-n", "default", "--kube-version", "1.37.2", *words).stdout
    return [item for item in yaml.load_all(text, Strict) if item]


def of(items: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [item for item in items if item["kind"] == kind]


def pod_of(items: list[dict[str, Any]]) -> dict[str, Any]:
    (deployment,) = of(items, "Deployment")
    spec: dict[str, Any] = deployment["spec"]["template"]
    return spec


MONITORED = (
    *(
        *SECRET,
        "--set",
        "monitoring.labels.release=prometheus,monitoring.dashboard=true,monitoring.runbooks=https://r/",
    ),
    *("--api-versions", "monitoring.coreos.com/v1/ServiceMonitor"),
    *("--api-versions", "monitoring.coreos.com/v1/PrometheusRule"),
)


@pytest.mark.parametrize("name", HELMS)
def test_a_cluster_with_the_prometheus_operator_gets_monitor_and_rules(name: str) -> None:
    items = rendered(MONITORED, name)
    (monitor,), (rule,) = of(items, "ServiceMonitor"), of(items, "PrometheusRule")
    assert {monitor["metadata"]["labels"]["release"], rule["metadata"]["labels"]["release"]} == {"prometheus"}
    (service,) = [item for item in of(items, "Service") if item["metadata"]["name"].endswith("-metrics")]
    chosen = monitor["spec"]["selector"]["matchLabels"].items()
    assert chosen <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    assert service["spec"]["selector"].items() <= pod_of(items)["metadata"]["labels"].items()
    (group,) = rule["spec"]["groups"]
    assert all(one["annotations"]["runbook_url"].startswith("https://r/") for one in group["rules"])
    assert [one["expr"] for one in group["rules"]] == [
        one["expr"] for one in yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"][0]["rules"]
    ]
    scraped = [key for key in pod_of(items)["metadata"]["annotations"] if key.startswith("prometheus.io/")]
    assert scraped == []  # twice, it would count two leaders
    (dashboard,) = [item for item in of(items, "ConfigMap") if item["metadata"]["name"].endswith("-dashboard")]
    assert json.loads(dashboard["data"]["scheduledjobs.json"])["title"] == "ScheduledJobs"


def test_a_cluster_without_the_prometheus_operator_gets_neither() -> None:
    assert {item["kind"] for item in rendered(SECRET)} & {"ServiceMonitor", "PrometheusRule"} == set()


@pytest.mark.parametrize(("storage", "policy"), [("1Gi", "keep"), ("", None)])
def test_the_password_of_the_demo_database_is_kept_with_its_volume(storage: str, policy: str | None) -> None:
    """The volume outlives the release; with a new password nobody would come in when it is installed again."""
    (secret,) = of(rendered((*DEMO, "--set", f"demoPostgres.storage={storage}")), "Secret")
    assert secret["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == policy


def test_the_chart_has_a_byte_equal_copy_of_the_crd() -> None:
    assert (CHART / "files" / CRD).read_bytes() == (ROOT / "crds" / CRD).read_bytes()


@pytest.mark.parametrize("name", HELMS)
def test_lint_finds_nothing(name: str) -> None:
    done = helm(name, "lint", "--strict", str(CHART), *SECRET, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 chart(s) linted, 0 chart(s) failed" in done.stdout


@pytest.mark.parametrize("case", MATRIX)
def test_both_helms_render_the_same_and_an_api_server_takes_it(cluster: ControlPlane, case: str) -> None:
    items = rendered(MATRIX[case])
    if "demo" not in case:  # its password is random
        assert items == rendered(MATRIX[case], HELMS[1])
    taken = [item for item in items if item["kind"] not in ("Pod", "CustomResourceDefinition")]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": taken})
    done = cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
    assert "created (server dry run)" in done.stdout
    crds = of(items, "CustomResourceDefinition")
    assert len(crds) == (case != "no crd")
    for crd in crds:
        cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(crd))
        kept = crd["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        assert kept == (None if case == "crd not kept" else "keep")


@pytest.mark.parametrize("case", ["secret", "demo", "everything"])
def test_pods_are_restricted_as_the_api_server_enforces_it(cluster: ControlPlane, case: str) -> None:
    cluster.kubectl("create", "namespace", f"restricted-{case}")
    cluster.kubectl("label", "namespace", f"restricted-{case}", "pod-security.kubernetes.io/enforce=restricted")
    items = rendered(MATRIX[case])
    templates = [item["spec"]["template"] for item in items if item["kind"] in ("Deployment", "StatefulSet")]
    for template in [*templates, *of(items, "Pod")]:
        spec = {**template["spec"], "serviceAccountName": "default"}
        spec.pop("priorityClassName", None)
        spec["volumes"] = [*spec.get("volumes", []), *([] if case != "demo" else [{"name": "data", "emptyDir": {}}])]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
        cluster.kubectl("create", "serviceaccount", "default", "-n", f"restricted-{case}", check=False)
        words = ("create", "--dry-run=server", "-n", f"restricted-{case}", "-f", "-")
        assert "created" in cluster.kubectl(*words, stdin=json.dumps(pod)).stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "set database.existingSecret to a Secret that holds the address of your PostgreSQL"),
        ((*SECRET, *DEMO), "set one of database.existingSecret and demoPostgres.enabled, not both"),
        ((*SECRET, "--set", "replica=3"), "replica"),
        ((*SECRET, "--set", "operator.slot=3"), "slot"),
        ((*SECRET, "--set", "replicas=0"), "replicas"),
        ((*SECRET, "--set", "image.digest=latest"), "digest"),
        ((*SECRET, "--set", "watchNamespaces={Upper}"), "watchNamespaces"),
        ((*SECRET, "--set", "web.port=9090"), "web.port and metrics.port must be two ports"),
        ((*SECRET, "--set", "web.auth=none"), "auth"),
        ((*SECRET, "--set", "web.service.type=ExternalName"), "type"),
        ((*SECRET, "--set", "web.ingress.host=https://jobs.example"), "host"),
        ((*SECRET, "--set", "quotas.finance.job=3"), "job"),
        ((*SECRET, "--set", "quotas.Finance.jobs=3"), "Finance"),
        ((*SECRET, "--set", "quotas.finance.jobs=-1"), "jobs"),
        ((*DEMO, "--set", "database.caSecret.name=db-ca"), "database.caSecret is for a database of yours"),
        ((*SECRET, "--set", "database.caSecret.key=a/b"), "key"),
        ((*DEMO, "--set", "migrate.existingSecret=owner"), "migrate.existingSecret is for a database of yours"),
        ((*SECRET, "--set", "web.enabled=false,web.ingress.enabled=true"), "web.ingress.enabled needs web.enabled"),
        ((*SECRET, "--set", "telemetry.otlpEndpoint=collector:4318"), "otlpEndpoint"),
        ((*SECRET, "--set", "telemetry.otlpEndpoint=http://ana:s3cret@collector:4318"), "otlpEndpoint"),
        ((*SECRET, "--kube-version", "1.30.0"), "1.31"),
    ],
)
@pytest.mark.parametrize("name", HELMS)
def test_a_value_that_cannot_be_right_is_refused_by_name(name: str, words: tuple[str, ...], sentence: str) -> None:
    done = helm(name, "template", "release", str(CHART), "--kube-version", "1.37.2", *words, check=False)
    assert done.returncode != 0
    assert sentence in done.stderr, done.stderr


def test_with_namespaces_nothing_is_granted_for_the_whole_cluster() -> None:
    items = rendered((*MATRIX["namespaces"], "--set", "rbac.aggregate=false"))
    assert of(items, "ClusterRole") == of(items, "ClusterRoleBinding") == []
    assert {role["metadata"]["namespace"] for role in of(items, "Role")} >= {"default", "kube-public", "kube-system"}


@pytest.mark.parametrize("case", ["secret", "everything", "no dashboard", "dashboard for everybody"])
def test_no_right_on_what_the_operator_has_no_use_for(case: str) -> None:
    items = [item for item in rendered(MATRIX[case]) if "aggregate-to" not in json.dumps(item["metadata"])]
    roles = [r for kind in ("Role", "ClusterRole") for r in of(items, kind) if "smoke" not in r["metadata"]["name"]]
    rules = [(resource, verb) for role in roles for rule in role["rules"] for resource in rule["resources"]
             for verb in rule["verbs"]]  # fmt: skip
    assert sorted(rules) == [
        ("events", "create"),
        ("leases", "create"), ("leases", "get"), ("leases", "patch"),
        ("namespaces", "get"),
        ("scheduledjobs", "get"), ("scheduledjobs", "list"), ("scheduledjobs", "watch"),
        ("scheduledjobs/status", "patch"),
    ]  # fmt: skip


def test_kubernetes_job_brings_its_setting_and_the_rights_that_it_uses() -> None:
    items = rendered(MATRIX["kubernetes-job"])
    granted = {json.dumps(rule) for role in of(items, "ClusterRole") for rule in role["rules"]}
    before = {json.dumps(rule) for role in of(rendered(SECRET), "ClusterRole") for rule in role["rules"]}
    more = sorted((resource, verb) for rule in map(json.loads, granted - before)
                  for resource in rule["resources"] for verb in rule["verbs"])  # fmt: skip
    assert more == [
        ("events", "list"),
        ("jobs", "create"), ("jobs", "delete"), ("jobs", "get"), ("jobs", "list"), ("jobs", "watch"),
        ("pods", "list"), ("pods/log", "get"),
    ]  # fmt: skip
    (container,) = pod_of(items)["spec"]["containers"]
    env = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert env["SCHEDULEDJOBS_KUBERNETES_JOB"] == "true"
    assert env["SCHEDULEDJOBS_KUBERNETES_JOB_SERVICE_ACCOUNTS"] == "reporter,mailer"
    assert "SCHEDULEDJOBS_KUBERNETES_JOB" not in json.dumps(rendered(SECRET))


def test_a_viewer_reads_and_an_editor_writes_and_neither_more() -> None:
    roles = {role["metadata"]["name"].rpartition(":")[2]: role for role in of(rendered(SECRET), "ClusterRole")}
    verbs = {name: roles[name]["rules"][0]["verbs"] for name in ("view", "edit")}
    assert verbs["view"] == ["get", "list", "watch"]
    assert verbs["edit"] == ["create", "update", "patch", "delete", "deletecollection"]
    for name in verbs:
        assert [rule["apiGroups"] for rule in roles[name]["rules"]] == [["scheduledjobs.dev"]]


def web_of(case: str) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]], dict[str, int]]:
    """All items, the operator's variables by name, and its ports by name."""
    items = rendered(MATRIX[case])
    (container,) = pod_of(items)["spec"]["containers"]
    env = {entry["name"]: entry for entry in container["env"]}
    return items, env, {port["name"]: port["containerPort"] for port in container["ports"]}


def test_the_dashboard_is_behind_a_service_and_nothing_else_by_default() -> None:
    items, env, ports = web_of("secret")
    assert (env["SCHEDULEDJOBS_PORT"]["value"], env["SCHEDULEDJOBS_AUTH"]["value"]) == ("8080", "token")
    assert ports == {"metrics": 9090, "web": 8080}
    (service,) = of(items, "Service")
    assert service["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}]
    assert service["spec"]["type"] == "ClusterIP"
    assert of(items, "Ingress") == []


def test_the_service_of_the_pages_leads_to_the_operators_ready_pods_only() -> None:
    """A pod whose init container migrates has an address, and refuses what comes there."""
    for case in ("demo", "everything"):
        items = rendered(MATRIX[case])
        (service,) = [each for each in of(items, "Service") if "postgres" not in each["metadata"]["name"]]
        assert service["spec"]["selector"].items() <= pod_of(items)["metadata"]["labels"].items()
        assert not service["spec"].get("publishNotReadyAddresses")
        for other in of(items, "StatefulSet"):
            labels = other["spec"]["template"]["metadata"]["labels"]
            assert not service["spec"]["selector"].items() <= labels.items()


def test_the_ingress_leads_to_the_service() -> None:
    items, env, ports = web_of("everything")
    (service,), (ingress,) = of(items, "Service"), of(items, "Ingress")
    assert (env["SCHEDULEDJOBS_PORT"]["value"], ports["web"]) == ("8081", 8081)
    assert (service["spec"]["type"], service["spec"]["ports"][0]["port"]) == ("LoadBalancer", 8080)
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    backend = {"name": service["metadata"]["name"], "port": {"name": service["spec"]["ports"][0]["name"]}}
    assert (rule["host"], path["path"], path["backend"]["service"]) == ("jobs.example", "/", backend)
    assert (ingress["spec"]["ingressClassName"], ingress["spec"]["tls"][0]["secretName"]) == ("nginx", "jobs-tls")
    assert (service["metadata"]["annotations"], ingress["metadata"]["annotations"]) == ({"f": "g"}, {"h": "i"})


def test_without_the_dashboard_there_is_no_port_for_it() -> None:
    items, env, ports = web_of("no dashboard")
    assert env["SCHEDULEDJOBS_WEB"]["value"] == "false"
    assert ports == {"metrics": 9090}
    assert of(items, "Service") == of(items, "Ingress") == []
    (policy,) = of(items, "NetworkPolicy")
    assert [rule["ports"][0]["port"] for rule in policy["spec"]["ingress"]] == ["metrics"]


def test_each_port_has_peers_of_its_own() -> None:
    for case, names in (("secret", {"metrics": None, "web": None}),
                        ("everything", {"metrics": "monitoring", "web": "ingress"})):  # fmt: skip
        (policy,) = of(rendered(MATRIX[case]), "NetworkPolicy")
        for rule in policy["spec"]["ingress"]:
            (port,) = rule["ports"]
            peers = [peer["namespaceSelector"]["matchLabels"]["name"] for peer in rule.get("from", [])]
            name = names.pop(port["port"])
            assert peers == ([name] if name else []), port
        assert names == {}


def test_the_pod_outlives_the_drain() -> None:
    spec = pod_of(rendered((*SECRET, "--set", "operator.drainSeconds=100")))["spec"]
    assert spec["terminationGracePeriodSeconds"] == 115


def test_a_digest_goes_before_the_tag() -> None:
    (container,) = pod_of(rendered(MATRIX["digest"]))["spec"]["containers"]
    assert container["image"] == f"scheduledjobs@sha256:{'a' * 64}"


def test_liveness_asks_neither_database_nor_leadership() -> None:
    (container,) = pod_of(rendered(SECRET))["spec"]["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/livez", "readiness": "/readyz", "liveness": "/livez"}


def test_handlers_and_connections_reach_the_operator() -> None:
    (container,) = pod_of(rendered(MATRIX["everything"]))["spec"]["containers"]
    env = {entry["name"]: entry for entry in container["env"]}
    assert env["SCHEDULEDJOBS_HANDLERS"]["value"] == "mine.reports"
    assert env["PYTHONPATH"]["value"] == "/handlers"
    assert env["SCHEDULEDJOBS_SQL_CONNECTIONS"]["valueFrom"]["secretKeyRef"]["name"] == "sql"


def test_credentials_are_mounted_if_they_are_there_and_their_places_are_told() -> None:
    items = rendered(MATRIX["everything"])
    spec = pod_of(items)["spec"]
    (container,) = spec["containers"]
    env = {entry["name"]: entry for entry in container["env"]}
    told = json.loads(env["SCHEDULEDJOBS_CREDENTIALS"]["value"])
    folder = "/etc/scheduledjobs/credentials/reports"
    assert told == {
        "reports": {"namespaces": ["finance"], "path": folder, "hosts": CREDENTIALS[0]["hosts"]},
        "pod": {"namespaces": ["*"], "secret": "of-the-job"},
    }
    allow_credentials(told)
    allow_credentials({})
    (volume,) = [one for one in spec["volumes"] if one["name"].startswith("credential-")]
    assert volume["secret"] == {"secretName": "api", "optional": True, "defaultMode": 0o440}
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == volume["name"]]
    assert (mount["mountPath"], mount["readOnly"]) == (folder, True)
    assert "subPath" not in mount  # such a mount never changes, and a rotated Secret would not be seen
    for other in spec["initContainers"]:
        assert "credential" not in json.dumps(other).lower()


def test_without_credentials_nothing_is_mounted() -> None:
    assert "redential" not in json.dumps(pod_of(rendered(SECRET)))


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        ([{"name": "a", "namespaces": ["b"]}], "existingSecret"),
        ([{"name": "a", "existingSecret": "b"}], "namespaces"),
        ([{"name": "a", "namespaces": [], "existingSecret": "b"}], "namespaces"),
        ([{"name": "../a", "namespaces": ["b"], "existingSecret": "b"}], "name"),
        ([{"name": "a", "namespaces": ["b"], "existingSecret": "b", "hosts": ["https://a/path"]}], "hosts"),
        ([{"name": "a", "namespaces": ["b"], "existingSecret": "b", "hosts": ["$(PATH)"]}], "hosts"),
        ([{"name": "a", "namespaces": ["b"], "existingSecret": "b", "token": "canary"}], "token"),
        ([{"name": "a", "namespaces": ["b"], "secret": "b"}] * 2, "credentials: two are named a"),
    ],
    ids=lambda value: str(value)[:70],
)
@pytest.mark.parametrize("name", HELMS)
def test_credentials_that_cannot_be_are_refused(name: str, credentials: list[dict[str, Any]], words: str) -> None:
    said = helm(
        name, "template", "release", str(CHART), *SECRET, "--kube-version", "1.37.2",
        "--set-json", f"credentials={json.dumps(credentials)}",
        check=False,
    )  # fmt: skip
    assert said.returncode != 0
    assert words in said.stderr


def test_a_collector_that_is_named_reaches_the_operator_and_otherwise_none_does() -> None:
    named = rendered((*SECRET, "--set", "telemetry.otlpEndpoint=http://collector.monitoring:4318"))
    for items, expected in ((named, ["http://collector.monitoring:4318"]), (rendered(SECRET), [])):
        (container,) = pod_of(items)["spec"]["containers"]
        found = [entry["value"] for entry in container["env"] if entry["name"].startswith("OTEL_")]
        assert found == expected


def test_only_the_init_container_has_the_address_of_who_may_change_the_schema() -> None:
    spec = pod_of(rendered(MATRIX["everything"]))["spec"]
    (init,), (operator,) = spec["initContainers"], spec["containers"]
    secrets = [
        {
            entry["name"]: entry["valueFrom"]["secretKeyRef"]
            for entry in container["env"]
            if "secretKeyRef" in entry.get("valueFrom", {})
        }
        for container in (init, operator)
    ]
    assert secrets[0] == {
        "SCHEDULEDJOBS_DATABASE_URL": {"name": "db", "key": "uri"},
        "SCHEDULEDJOBS_MIGRATE_URL": {"name": "owner", "key": "url"},
    }
    assert "owner" not in json.dumps(operator)
    assert secrets[1]["SCHEDULEDJOBS_DATABASE_URL"] == {"name": "db", "key": "uri"}
    (plain,) = pod_of(rendered(SECRET))["spec"]["initContainers"]
    assert [entry["name"] for entry in plain["env"]] == ["SCHEDULEDJOBS_DATABASE_URL"]


def test_the_ca_of_the_database_is_wherever_its_address_is() -> None:
    items = rendered(MATRIX["everything"])
    (smoke,) = of(items, "Pod")
    specs = [pod_of(items)["spec"], smoke["spec"]]
    containers = [one for spec in specs for one in (*spec.get("initContainers", []), *spec["containers"])]
    assert [one["name"] for one in containers] == ["migrate", "operator", "smoke"]
    for one in containers:
        (path,) = [entry["value"] for entry in one["env"] if entry["name"] == "PGSSLROOTCERT"]
        (mount,) = [mount for mount in one["volumeMounts"] if mount["name"] == "database-ca"]
        assert (f"{mount['mountPath']}/ca.crt", mount["readOnly"]) == (path, True)
    for spec in specs:
        (volume,) = [one for one in spec["volumes"] if one["name"] == "database-ca"]
        assert volume["secret"] == {"secretName": "db-ca", "items": [{"key": "root.crt", "path": "ca.crt"}]}
    assert not any(word in json.dumps(rendered(SECRET)) for word in ("database-ca", "PGSSLROOTCERT"))


def test_quotas_reach_the_operator_as_they_are_written() -> None:
    (container,) = pod_of(rendered(MATRIX["everything"]))["spec"]["containers"]
    (text,) = [entry["value"] for entry in container["env"] if entry["name"] == "SCHEDULEDJOBS_QUOTAS"]
    quotas = read_quotas(text)
    assert quotas.of("finance") == Quota(jobs=1000, fires_per_second=0.5, running=8)
    assert quotas.of("sales") == Quota(jobs=1000, fires_per_second=0.5)


def test_every_variable_is_one_of_the_settings_and_defaults_agree() -> None:
    (container,) = pod_of(rendered(MATRIX["everything"]))["spec"]["containers"]
    names = {entry["name"] for entry in container["env"]} - {"PYTHONPATH", "PGSSLROOTCERT", "A"}
    assert names <= {f"SCHEDULEDJOBS_{name.upper()}" for name in Settings.model_fields}
    (plain,) = pod_of(rendered(SECRET))["spec"]["containers"]
    changed = {"SCHEDULEDJOBS_MIGRATE", "SCHEDULEDJOBS_LEASE_NAME"}
    for entry in plain["env"]:
        if "value" in entry and entry["name"] not in changed:
            default = Settings.model_fields[entry["name"].removeprefix("SCHEDULEDJOBS_").lower()].default
            assert float(entry["value"]) == float(default) if entry["value"].isdigit() else entry["value"] == default


def test_values_schema_and_readme_name_the_same_things() -> None:
    text = (CHART / "values.yaml").read_text()
    values, schema = yaml.safe_load(text), json.loads((CHART / "values.schema.json").read_text())
    described = {path for path, _ in comments(text)}
    assert described == set(leaves(values, schema))
    for path in described:
        value_at(values, path)
    assert (CHART / "README.md").read_text() == readme(), "run: python -m dev.chart_docs"


def leaves(values: Any, schema: dict[str, Any], path: str = "") -> list[str]:
    found = []
    for key, value in values.items():
        known = schema["properties"][key]
        if isinstance(value, dict) and "properties" in known and key != "resources":
            assert set(known["properties"]) == set(value), key
            assert known["additionalProperties"] is False, key
            found += leaves(value, known, f"{path}{key}.")
        else:
            found.append(f"{path}{key}")
    return found


def test_the_chart_is_the_version_of_the_program() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == __import__("scheduledjobs").__version__


def test_notes_warn_of_the_demo_database() -> None:
    words = ("install", "release", str(CHART), "--dry-run=client", "-n", "default", *DEMO)
    said = helm(HELMS[0], *words).stdout
    assert "WARNING: demoPostgres" in said
    assert "what helm template writes (Argo CD) has a new password each time" in said


def notes(*words: str) -> str:
    done = helm(HELMS[0], "install", "release", str(CHART), "--dry-run=client", "-n", "jobs", *SECRET, *words)
    return done.stdout.partition("\nNOTES:\n")[2]


def test_notes_say_how_to_reach_the_dashboard() -> None:
    said = notes()
    assert "kubectl -n jobs port-forward svc/release-scheduledjobs 8080:80\n" in said
    assert "create token SERVICE-ACCOUNT" in said
    said = notes("--set", "web.ingress.enabled=true,web.ingress.host=jobs.example,web.ingress.tls[0].secretName=x")
    assert "https://jobs.example/ui/" in said
    assert "port-forward" not in said
    assert "WARNING" not in said
    assert "ashboard" not in notes("--set", "web.enabled=false")


def test_notes_warn_of_a_dashboard_without_tokens_or_without_tls() -> None:
    assert "WARNING: web.auth" in notes("--set", "web.auth=none-for-everybody")
    assert "WARNING: web.ingress has no tls" in notes("--set", "web.ingress.enabled=true")


def test_notes_warn_of_runbooks_that_no_link_reaches_where_there_are_alerts(cluster: ControlPlane) -> None:
    def said(*words: str) -> str:
        install = ("install", "release", str(CHART), "--kubeconfig", str(cluster.kubeconfig), "--dry-run=server")
        return helm(HELMS[0], *install, *SECRET, "--set", "crds.install=false", *words).stdout.partition("\nNOTES:\n")[
            2
        ]

    warning = "WARNING: monitoring.runbooks has no scheme"
    assert warning not in said()
    names = {"kind": "PrometheusRule", "plural": "prometheusrules", "singular": "prometheusrule"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "prometheusrules.monitoring.coreos.com"},
        "spec": {"group": "monitoring.coreos.com", "names": names, "scope": "Namespaced", "versions": [version]},
    }
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(crd))
    try:
        cluster.kubectl("wait", "--for=condition=Established", "crd/prometheusrules.monitoring.coreos.com")
        assert warning in said()
        assert warning not in said("--set", "monitoring.runbooks=https://docs.example/runbooks/")
        assert warning not in said("--set", "monitoring.enabled=false")
    finally:
        cluster.kubectl("delete", "crd/prometheusrules.monitoring.coreos.com")


def test_the_image_has_no_file_that_it_has_no_use_for() -> None:
    kept = set(Path(ROOT / ".dockerignore").read_text().split())
    assert kept == {"*", "!requirements", "!pyproject.toml", "!README.md", "!migrations", "!operator", "**/__pycache__"}
