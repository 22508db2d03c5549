"""A browser, and what it looks at: the made-up site on a port of its own, or three replicas with their visitors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from dev.browser import chromium, flags
from dev.controlplane import ControlPlane
from dev.postgres import Postgres
from playwright.sync_api import Browser, sync_playwright
from tests.browser.stage import Stage, Visitor, new_visitor, open_stage
from tests.pages.ui_stub import site

NewVisitor = Callable[..., Visitor]


@pytest.fixture(scope="session")
def browser(postgres_server: Postgres) -> Iterator[Browser]:
    """Chromium; after the database server, which needs an event loop, as none may begin inside Playwright's."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium(), args=flags())
        try:
            yield found
        finally:
            found.close()


@pytest.fixture
def served() -> Iterator[Any]:
    """The made-up site: its address, and its parts to turn."""
    app, parts = site()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 20
    while not server.started and time.monotonic() < end:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield SimpleNamespace(url=f"http://127.0.0.1:{port}", **vars(parts))
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="session")
def stage(
    cluster: ControlPlane, postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Three replicas and the jobs."""
    with open_stage(cluster, postgres_server, tmp_path_factory.mktemp("stage")) as found:
        yield found


@pytest.fixture(scope="session")
def kept(stage: Stage, browser: Browser) -> Any:
    """What a browser keeps of somebody who has signed in, by the page of the login."""
    visitor = new_visitor(stage, browser)
    visitor.go("/ui/")
    visitor.sign_in()
    visitor.page.get_by_role("heading", name="Overview").wait_for()
    found = visitor.context.storage_state()
    visitor.context.close()
    return found


@pytest.fixture
def visit(stage: Stage, browser: Browser, kept: Any) -> Iterator[NewVisitor]:
    """Make visitors, signed in unless told otherwise; at the end none may have had cause to complain."""
    made: list[Visitor] = []

    def new(*, is_known: bool = True, **settings: Any) -> Visitor:
        visitor = new_visitor(stage, browser, **settings, **({"storage_state": kept} if is_known else {}))
        made.append(visitor)
        return visitor

    yield new
    for visitor in made:
        visitor.context.close()
    assert [each for visitor in made for each in visitor.complaints] == []


@pytest.fixture(params=[True, False], ids=["with-script", "without-script"])
def ana(request: pytest.FixtureRequest, visit: NewVisitor) -> Visitor:
    """Somebody who has signed in, with JavaScript and without."""
    return visit(has_script=request.param)
