"""`scheduledjobs import cronjobs`: manifests from CronJobs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import yaml

from scheduledjobs.cli import import_output
from scheduledjobs.cli.import_output import Progress
from scheduledjobs.cli.import_shadow import Time, shadow
from scheduledjobs.core.yaml_text import read_yaml
from scheduledjobs.handlers.job_payload import DEFAULT_ACCOUNT, KubernetesJobPayload, Objection, objections
from scheduledjobs.importing.cronjobs import read_cronjob
from scheduledjobs.importing.imported import Imported
from scheduledjobs.importing.shadow import Compared
from scheduledjobs.kube.annotate import context
from scheduledjobs.kube.client import open_client
from scheduledjobs.kube.cronjobs import list_cronjobs, list_runs

Raw = Mapping[str, Any]
MORE_ACCOUNTS = "kubernetesJob.serviceAccounts of the chart allows more"
OFF_BY_DEFAULT = (
    "the manifests name the handler kubernetes-job, which is off by default: until the chart's value "
    "kubernetesJob.enabled is true the jobs are Ready=False and run nothing, so suspend no CronJob before"
)


@click.command()
@click.option("-n", "--namespace", help="CronJobs of this namespace.  [default: the kubeconfig's]")
@click.option("-A", "--all-namespaces", is_flag=True, help="CronJobs of all namespaces.")
@click.option("-f", "--file", metavar="FILE", help="YAML or JSON with CronJobs instead of the cluster's; - is stdin.")
@click.option(
    "--default-time-zone",
    callback=import_output.zone,
    metavar="ZONE",
    help="Zone of kube-controller-manager, for CronJobs that name none.  [default: Etc/UTC, and a note]",
)
@import_output.options
def command(
    *,
    namespace: str | None,
    all_namespaces: bool,
    file: str | None,
    default_time_zone: str | None,
    output: Path | None,
    force: bool,
    shadow: timedelta | None,
) -> None:
    """Write ScheduledJobs with the handler kubernetes-job for CronJobs of a cluster or a file.

    Reads the cluster of KUBECONFIG, with the right to list cronjobs (and jobs with --shadow); changes nothing. Try
    first: scheduledjobs import cronjobs -A --output jobs
    """
    if sum((namespace is not None, all_namespaces, file is not None)) > 1:
        raise click.UsageError("give one of --namespace, --all-namespaces and --file")
    if file is not None and shadow is not None:
        raise click.UsageError("--shadow looks at a cluster: not with --file")
    scope = None if all_namespaces or file else namespace or context()[0]
    found = list(_read_file(file)) if file is not None else asyncio.run(_read_cluster(scope))
    now = datetime.now(UTC)
    jobs = [read_cronjob(raw, default_time_zone, now, refusals) for raw in found]
    jobs = import_output.write(jobs, output, force=force, is_shadow=shadow is not None)
    if any(job.spec is not None for job in jobs):
        click.echo(OFF_BY_DEFAULT, err=True)
    compared = asyncio.run(compare(scope, jobs, found, shadow, Time())) if shadow is not None else None
    import_output.leave(jobs, compared)


def refusals(payload: Mapping[str, Any]) -> list[Objection]:
    """Return what the handler refuses of a payload; which service accounts it is allowed, only the operator knows."""
    parsed, pod = KubernetesJobPayload.model_validate(payload), payload["template"]["spec"]
    named = frozenset(str(pod.get(name) or DEFAULT_ACCOUNT) for name in ("serviceAccountName", "serviceAccount"))
    certain = objections(parsed, named)
    return [
        (where, sentence if (where, sentence) in certain else f"{sentence}; {MORE_ACCOUNTS}")
        for where, sentence in objections(parsed, frozenset())
    ]


async def _read_cluster(namespace: str | None) -> list[Raw]:
    found: list[Raw] = []
    tell = Progress()
    async with open_client() as kube:
        async for page in list_cronjobs(kube, namespace):
            found += page
            tell(f"read {len(found)} CronJobs")
    return found


async def compare(
    namespace: str | None, jobs: list[Imported], found: list[Raw], duration: timedelta, clock: Time
) -> list[Compared]:
    """Hold the fire times of `jobs`, which were read from `found`, against what the cluster's controller makes."""
    origins = {raw["metadata"]["uid"]: job.origin for raw, job in zip(found, jobs, strict=True)}
    async with open_client() as kube:

        async def look(_: datetime) -> dict[str, set[datetime]]:
            runs = await list_runs(kube, namespace)
            return {origins[uid]: moments for uid, moments in runs.items() if uid in origins}

        return await shadow(jobs, duration, look, is_nominal=True, clock=clock)


def _read_file(file: str) -> Iterator[Raw]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        documents = [one for document in read_yaml(text) for one in _items(document)]
    except OSError as error:
        raise click.BadParameter(f"{file} cannot be read: {error.strerror}", param_hint="--file") from None
    except (yaml.YAMLError, ValueError) as error:  # bytes that are no text are a ValueError
        message = " ".join(str(error).split())
        raise click.BadParameter(f"{file} is no YAML: {message}", param_hint="--file") from None
    kinds = [(one.get("apiVersion"), one.get("kind")) for one in documents]
    if ("batch/v1", "CronJob") not in kinds:
        raise click.BadParameter(f"{file} has no CronJob of batch/v1", param_hint="--file")
    if others := sum(kind != ("batch/v1", "CronJob") for kind in kinds):
        click.echo(f"{others} other objects in {file} are left out", err=True)
    yield from (one for one, kind in zip(documents, kinds, strict=True) if kind == ("batch/v1", "CronJob"))


def _items(document: object) -> Iterator[Raw]:
    if not isinstance(document, Mapping):
        return
    if isinstance(document.get("items"), list):
        for item in document["items"]:
            yield from _items({"apiVersion": "batch/v1", "kind": "CronJob", **item} if _is_list(document) else item)
    else:
        yield document


def _is_list(document: Raw) -> bool:
    """Return whether a list says for its items what they are, as the API server's own lists do."""
    return document.get("kind") == "CronJobList"
