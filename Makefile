# Two commands do everything: `make demo` and `make test`. Each sets up what it needs.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# Other servers than the newest: make test POSTGRES=15 KUBERNETES=1.34
export SCHEDULEDJOBS_TEST_POSTGRES ?= $(POSTGRES)
export SCHEDULEDJOBS_TEST_KUBERNETES ?= $(KUBERNETES)

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

.venv/ready: requirements/dev.txt pyproject.toml
	@echo "scheduledjobs: installing the pinned dependencies into .venv"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/release/ready: requirements/release.txt
	@$(PYTHON) -m venv .venv/release
	@.venv/release/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/release.txt
	@touch $@

venv: .venv/ready  ## Install the pinned dependencies into .venv

programs: .venv/ready  ## Build etcd and kube-apiserver, once, into the user's cache
	@$(BIN)/python -m dev.build

demo: .venv/ready  ## Show two replicas at work on a real API server and PostgreSQL
	@$(BIN)/python -m dev.demo

up: .venv/ready  ## Start a dev cluster and PostgreSQL in the background, write .dev/env
	@$(BIN)/python -m dev.cluster up

down: .venv/ready  ## Stop what `make up` started
	@$(BIN)/python -m dev.cluster down

unit: .venv/ready  ## Run the unit tests: no server, under ten seconds
	@$(BIN)/pytest -q -p no:schemathesis -p no:anyio tests/unit

test: .venv/ready .venv/release/ready programs  ## Run all tests, on a real PostgreSQL and a real API server
	@$(BIN)/pytest

compat: .venv/ready  ## Run what meets the servers on older ones: a table at the end (ONLY=15 picks)
	@$(BIN)/python -m dev.compat $(ONLY)

e2e: .venv/ready  ## Run the end-to-end tests on real pods: kind, a node, or CLUSTER=current
	@$(BIN)/python -c "from dev.build import HELM4, program; program(HELM4)"
	@SCHEDULEDJOBS_E2E=1 $(BIN)/pytest --timeout 600 -o timeout_func_only=true -x tests/e2e

browser: .venv/ready programs  ## Run the browser tests of the dashboard, in Chromium (CHROMIUM=path, or Debian's)
	@$(BIN)/python -m dev.browser
	@SCHEDULEDJOBS_BROWSER=1 $(BIN)/pytest tests/browser

faults: .venv/ready programs  ## Run the fault scenarios, about an hour: a table at the end (ONLY=words picks some)
	@SCHEDULEDJOBS_FAULTS=1 $(BIN)/pytest -q --timeout 900 --ignore tests/faults/test_soak.py -k "$(ONLY)" tests/faults

soak: .venv/ready programs  ## Run a random mix of faults for HOURS=6, memory watched
	@SCHEDULEDJOBS_FAULTS=1 SCHEDULEDJOBS_TEST_HOURS=$(or $(HOURS),6) $(BIN)/pytest -q --timeout 0 tests/faults/test_soak.py

mutants: .venv/ready programs  ## Break one guard at a time and see that something turns red
	@$(BIN)/python -m tests.faults.mutants

chart: .venv/ready  ## Copy the CRD into the chart and write the chart's README
	@cp crds/*.yaml charts/scheduledjobs/files/
	@$(BIN)/python -m dev.chart_docs

docs: .venv/ready  ## Write docs/reference, and the patch for Argo CD, from the code, the CRD and a migrated database
	@$(BIN)/python -m dev.rest_docs
	@$(BIN)/python -m dev.metrics_docs
	@$(BIN)/python -m dev.logs_docs
	@$(BIN)/python -m dev.crd_docs
	@$(BIN)/python -m dev.settings_docs
	@$(BIN)/python -m dev.states_docs
	@$(BIN)/python -m dev.cli_docs
	@$(BIN)/python -m dev.tables_docs
	@$(BIN)/python -m dev.argocd

check: .venv/ready .venv/release/ready  ## Format, lint, types, layers, migrations, known vulnerabilities
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/squawk migrations/*.sql
	@$(BIN)/python -m dev.audit check

audit: .venv/ready .venv/release/ready  ## Look for known vulnerabilities; fails where nobody answers (AUDIT_OSV=url asks there)
	@$(BIN)/python -m dev.audit

sbom: .venv/ready .venv/release/ready  ## Write dist/scheduledjobs-VERSION.cdx.json from the pins (CycloneDX)
	@$(BIN)/python -m dev.sbom

bench: .venv/ready  ## Measure the floor, executions a second and lateness, and profile: 5 to 8 minutes
	@$(BIN)/python -m benchmarks

bench-units: .venv/ready  ## Measure one unit of the goals: UNIT=U5, OPTIONS="--count 1000" makes it small
	@$(BIN)/python -m benchmarks.units $(or $(UNIT),--help) $(OPTIONS)

bench-peers: .venv/ready  ## Measure beside other schedulers and job queues, two hours: tables at the end (ONLY=names)
	@$(BIN)/python -m benchmarks.peers $(if $(ONLY),--only $(ONLY))

lock: .venv/ready  ## Pin the newest versions that pyproject.toml allows (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml --extra otel -o requirements/run.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml --extra otel --group dev -o requirements/dev.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --group release -o requirements/release.txt
	echo 'hatchling>=1.33' | uv pip compile --universal --python-version 3.11 --generate-hashes --no-header - -o requirements/build.txt

.PHONY: help venv programs demo up down unit test e2e browser faults soak mutants chart docs check audit sbom compat bench bench-units bench-peers lock
