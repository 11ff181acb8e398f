"""Distortions of JSON values: a field changed, a field gone, moments moved. The value given is not touched."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

MOMENTS = frozenset({
    "timestamp", "at", "t", "created_at", "updated_at", "submitted_at", "filled_at", "expired_at", "expires_at",
    "canceled_at", "replaced_at", "failed_at", "transaction_time", "next_open", "next_close",
})
_NS = 10**9
_MOST_SECONDS = 10**11             # larger numbers are no seconds but nanoseconds


def set_field(body: Any, path: str, value: Any) -> Any:
    """A copy with the field at a dotted path set where its parent exists; lists are entered."""
    return _changed(body, path.split("."), lambda parent, name: {**parent, name: value})


def remove_field(body: Any, path: str) -> Any:
    """A copy without the field at a dotted path."""
    return _changed(
        body, path.split("."), lambda parent, name: {key: held for key, held in parent.items() if key != name}
    )


def _changed(body: Any, steps: list[str], change: Any) -> Any:
    if isinstance(body, list):
        return [_changed(item, steps, change) for item in body]
    if not isinstance(body, dict):
        return body
    if len(steps) == 1:
        return change(body, steps[0])
    name = steps[0]
    return {**body, name: _changed(body[name], steps[1:], change)} if name in body else body


def shift_moments(body: Any, seconds: float) -> Any:
    """A copy in which every moment is so many seconds later; moments are RFC 3339 texts, whole seconds or ns."""
    if isinstance(body, list):
        return [shift_moments(item, seconds) for item in body]
    if not isinstance(body, dict):
        return body
    return {
        name: _shifted(value, seconds) if name in MOMENTS else shift_moments(value, seconds)
        for name, value in body.items()
    }


def _shifted(value: Any, seconds: float) -> Any:
    if isinstance(value, list):
        return [_shifted(item, seconds) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return value + int(seconds * (_NS if abs(value) >= _MOST_SECONDS else 1))
    if not isinstance(value, str):
        return shift_moments(value, seconds)
    try:
        moved = datetime.fromisoformat(value) + timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        return value
    return moved.isoformat().replace("+00:00", "Z")
