"""The form of a job: its fields as a spec, and a spec as fields. Pure; the server's own checks come after.

An empty field is left out of the spec, so the default holds. What a spec has and the form does not know is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from scheduledjobs.core.masking import MASK
from scheduledjobs.core.resource import GROUP, KIND, VERSION
from scheduledjobs.core.yaml_text import write_yaml
from scheduledjobs.core.zone import load_zone
from scheduledjobs.errors import SpecError
from scheduledjobs.web.models import FieldError
from scheduledjobs.web.ui.payload import fill_payload, read_payload, text_of

Form = Mapping[str, str]
KINDS = ("schedule", "fixedRate", "fixedDelay", "runAt")
MOMENTS = ("runAt", "startTime", "endTime")
TEXTS = ("timeZone", "startTime", "endTime", "jitter", "handler", "concurrencyPolicy", "startingDeadline", "timeout")
NESTED = {"misfire": ("policy", "grace", "limit"), "retry": ("limit", "backoff", "maxBackoff")}
NUMBERS = ("misfire.limit", "retry.limit")
ORDER = (*KINDS, "timeZone", "startTime", "endTime", "jitter", "suspend", "handler", "payload")
KNOWN = {*KINDS, *TEXTS, *NESTED, "suspend", "payload"}
PATHS = (*KINDS, *TEXTS, *(f"{outer}.{name}" for outer, names in NESTED.items() for name in names), "suspend")
"""The fields of the form that are fields of the spec, by their paths in it."""


def read_spec(
    form: Form, schema: Mapping[str, Any] | None, base: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], list[FieldError]]:
    """Return the spec that a form describes, and what cannot be read in it; `base` is the spec that it edits."""
    spec: dict[str, Any] = {}
    kind = form.get("kind") or KINDS[0]
    if kind in KINDS and form.get(kind, "").strip():
        spec[kind] = form[kind].strip()
    spec |= {name: form[name].strip() for name in TEXTS if form.get(name, "").strip()}
    errors = [*_read_moments(spec), *_read_nested(form, spec)]
    if form.get("suspend") == "true":
        spec["suspend"] = True
    elif base is not None and "suspend" in base:
        spec["suspend"] = False
    payload, wrong = read_payload(form, schema)
    if payload or (base is not None and "payload" in base):
        spec["payload"] = payload
    unknown = {name: value for name, value in (base or {}).items() if name not in KNOWN}
    return {**spec, **unknown}, [*errors, *wrong, *masks(payload)]


def _read_moments(spec: dict[str, Any]) -> list[FieldError]:
    """A moment without an offset is one in the zone of the job; what is no moment goes on as it is, to be refused."""
    errors = []
    for name in MOMENTS:
        if name not in spec:
            continue
        try:
            spec[name] = moment_text(spec[name], str(spec.get("timeZone") or "Etc/UTC"))
        except ValueError as error:
            errors.append(FieldError(field=f"spec.{name}", message=str(error)))
    return errors


def moment_text(text: str, zone: str) -> str:
    """Return a moment as RFC 3339: as it is where it has an offset, else read in a zone.

    `ValueError` with the rest of a sentence for what is no moment, or is left out there as clocks go forward.
    """
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return text
        here = found.replace(tzinfo=load_zone(zone))
        back = here.astimezone(UTC).astimezone(here.tzinfo).replace(tzinfo=None)
    except SpecError:
        raise ValueError("has no offset, and the time zone is not one that is known") from None
    except (ValueError, OverflowError):
        raise ValueError("must be a date and a time, such as 2026-12-24 18:00 or 2026-12-24T18:00:00+01:00") from None
    if back != found:
        raise ValueError(f"does not exist that day in {zone}: the clocks go forward")
    return here.isoformat()


def _read_nested(form: Form, spec: dict[str, Any]) -> list[FieldError]:
    errors = []
    for outer, names in NESTED.items():
        for name in names:
            path = f"{outer}.{name}"
            text = form.get(path, "").strip()
            if not text:
                continue
            if path in NUMBERS and not (text.isascii() and text.isdecimal()):
                errors.append(FieldError(field=f"spec.{path}", message="must be a whole number"))
                continue
            spec.setdefault(outer, {})[name] = int(text[:20]) if path in NUMBERS else text
    return errors


def masks(payload: Mapping[str, Any]) -> list[FieldError]:
    """Return an error for each field that holds the sign of a masked secret: saved, it would replace the secret."""
    message = f"holds {MASK}, which stands for a secret that is not shown: write the secret itself, or a reference"
    return [
        FieldError(field=f"spec.payload.{name}", message=message)
        for name, value in payload.items()
        if MASK in text_of(value)
    ]


def fill(spec: Mapping[str, Any], schema: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the fields of the form for a spec."""
    form = {"kind": next((kind for kind in KINDS if spec.get(kind)), KINDS[0])}
    form |= {name: str(spec[name]) for name in (*KINDS, *TEXTS) if spec.get(name) not in (None, "")}
    for outer, names in NESTED.items():
        inner = spec.get(outer) or {}
        form |= {f"{outer}.{name}": str(inner[name]) for name in names if name in inner}
    if spec.get("suspend"):
        form["suspend"] = "true"
    return form | fill_payload(spec.get("payload") or {}, schema)


def manifest(namespace: str, name: str, spec: Mapping[str, Any]) -> str:
    """Return the YAML of the resource that is written, in the order in which people write it."""
    ordered = sorted(spec, key=lambda field: ORDER.index(field) if field in ORDER else len(ORDER))
    found = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {field: spec[field] for field in ordered},
    }
    return write_yaml(found)


def by_field(errors: Sequence[FieldError], names: Sequence[str]) -> tuple[dict[str, str], list[FieldError]]:
    """Return the first error of each field of a form, and the errors that belong to none.

    An error inside a value, such as spec.payload.headers.Accept, is one of the field that holds it.
    """
    own: dict[str, str] = {}
    others = []
    for error in errors:
        path = error.field.removeprefix("spec.")
        name = next((name for name in _shorter(path) if name in names), None)
        if name is None:
            others.append(error)
        else:
            rest = path[len(name) :].removeprefix(".")
            own.setdefault(name, f"{rest}: {error.message}" if rest else error.message)
    return own, others


def _shorter(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def differences(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the fields in which two specs differ: path, the one's value and the other's, as text ("" for none)."""
    found = []
    for name, (one, other) in {name: (theirs.get(name), mine.get(name)) for name in {**theirs, **mine}}.items():
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            found += [(f"{name}.{path}", a, b) for path, a, b in differences(one, other)]
        else:
            found.append((name, "" if one is None else text_of(one), "" if other is None else text_of(other)))
    return found
