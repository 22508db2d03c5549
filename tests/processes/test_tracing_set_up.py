"""Setting up traces, which holds for a whole process: what it imports, and what a wrong variable does."""

from __future__ import annotations

import subprocess
import sys

import pytest

COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


def test_without_a_collector_nothing_of_opentelemetry_is_imported_and_a_request_has_no_header_more() -> None:
    code = (
        "import sys\n"
        "import scheduledjobs.cli.main, scheduledjobs.cli.run, scheduledjobs.app, scheduledjobs.handlers.http\n"
        "from scheduledjobs.handlers import tracing\n"
        "tracing.set_up('r', {})\n"
        "headers = {}\n"
        "with tracing.request('GET', None, headers) as answered: answered(200)\n"
        "assert headers == {}\n"
        "tracing.shut_down()\n"
        "found = [name for name in sys.modules if name.startswith(('opentelemetry', 'google.protobuf'))]\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT: must look like"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://ana:s3cret@:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT: must look like"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:s3cret"}, "OTEL_EXPORTER_OTLP_ENDPOINT: must look like"),
        (
            {**COLLECTOR, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "grpc://x"},
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: must look like",
        ),
        ({**COLLECTOR, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf"),
        ({**COLLECTOR, "OTEL_PROPAGATORS": "nonsense"}, "nonsense"),
    ],
)
def test_a_wrong_variable_is_named_and_the_replica_works_without_traces(
    environment: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys, os\n"
        "from scheduledjobs.logs import set_up_logs\n"
        "from scheduledjobs.handlers import tracing\n"
        "set_up_logs('json', 'info', 'r')\n"
        "tracing.set_up('r')\n"
        "assert tracing._traces is None\n"
    )
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "traces are not exported" in done.stderr
    assert said in done.stderr
    assert "s3cret" not in done.stderr
