"""The start of a replica: what does not answer is named and waited for."""

from __future__ import annotations

from typing import Any, cast

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from scheduledjobs import app
from scheduledjobs.app import App
from scheduledjobs.errors import KubeUnavailable, StoreError, StoreUnavailable
from scheduledjobs.kube.client import KubeClient
from scheduledjobs.settings import Settings
from scheduledjobs.store.leadership import claim_cluster
from scheduledjobs.store.sessions import Connection, connect


class Kube:
    """An API server that does not answer at first."""

    def __init__(self) -> None:
        self.asked = 0

    async def cluster_uid(self) -> str:
        self.asked += 1
        if self.asked == 1:
            raise KubeUnavailable("it begins")
        return "cluster-a"


async def test_a_database_that_fails_over_while_a_replica_starts_is_waited_for(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = [StoreUnavailable("it fails over"), None]

    async def claim(conn: Connection, cluster: str) -> None:
        if (error := answers.pop(0)) is not None:
            raise error
        await claim_cluster(conn, cluster)

    monkeypatch.setattr(app, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(app, "claim_cluster", claim)
    replica = App(Settings(database_url=SecretStr(database), web=False), cast("KubeClient", Kube()))
    with capture_logs() as said:
        await replica._prepare()
    replica._runner._loop.close()  # it was never started
    assert answers == []
    assert [(line["setting"], line["error"]) for line in said if line["event"] == "no answer yet"] == [
        ("KUBECONFIG", "it begins"),
        ("SCHEDULEDJOBS_DATABASE_URL", "it fails over"),
    ]
    async with connect(database, "test") as conn:
        with pytest.raises(StoreError, match="belongs to the cluster cluster-a"):
            await claim_cluster(conn, "cluster-b")
