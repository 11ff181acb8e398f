"""``manifest.json``: what a model is, sealed field by field, so that whatever was changed later is named.

The seal is no signature: who wants to forge a manifest can. It finds what was edited, cut off, mixed up or lost.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from trader.core.clock import iso
from trader.utils.errors import UserError

FORMAT = 2
MANIFEST = "manifest.json"
SEAL = "seal"

_LIBRARIES = ("numpy", "catboost", "xgboost-cpu", "xgboost", "lightgbm")
_AGAIN = "train it again (alphatrade train)"


class ArtifactError(UserError, ValueError):
    """A model directory that must not be used; the message says which part and why."""


class _Data(msgspec.Struct):
    source: str
    timeframe: str
    symbols: list[str]
    start: str
    end: str
    hash: str


class _Features(msgspec.Struct):
    names: list[str]
    fingerprint: str
    set: dict[str, Any]


class _Labels(msgspec.Struct):
    profit_taking: float
    stop_loss: float
    max_holding_periods: int


class _Rule(msgspec.Struct):
    primary: str
    params: dict[str, Any]
    fingerprint: str


class _Scores(msgspec.Struct):
    verdict: str
    log_loss: float


class _Monitoring(msgspec.Struct):
    expected_accuracy: float
    expected_calibration_error: float
    max_age_days: float
    drift: dict[str, Any]


class _Manifest(msgspec.Struct):
    """The fields that something reads; more are allowed."""

    name: str
    version: str
    seed: int
    trained_through_ns: int
    data: _Data
    features: _Features
    labels: _Labels
    meta: _Rule | None
    scores: _Scores
    monitoring: _Monitoring
    libraries: dict[str, str]
    files: dict[str, str]


def read_manifest(directory: str | Path) -> dict[str, Any]:
    """The manifest of a model directory, its fields and its seal checked; cheap, loads no booster.

    ``created`` is added: when the file was written, RFC 3339.

    Raises
    ------
    ArtifactError
        no manifest, another format, a field that is missing, malformed, strange or changed; the message names it
    """
    path = Path(directory) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
        written = iso(path.stat().st_mtime_ns)
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist: not a model directory") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from None
    if not isinstance(manifest, dict):
        raise ArtifactError(f"{path} holds no manifest")
    if manifest.get("format") != FORMAT:
        raise ArtifactError(f"{path} has format {manifest.get('format')!r}; this version reads {FORMAT}: train again")
    _check_seal(path, manifest)
    try:
        msgspec.convert(manifest, _Manifest)
    except msgspec.ValidationError as error:
        raise ArtifactError(f"{path}: {error}: {_AGAIN}") from None
    return {"created": written, **manifest}


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with a hash of each of its fields; no clock goes into it."""
    told = {name: value for name, value in manifest.items() if name not in ("created", SEAL)}
    return {**told, SEAL: {name: _digest(value) for name, value in told.items()}}


def require_libraries(manifest: Mapping[str, Any], model: str) -> None:
    """Refuse a model of other library versions: equal trees need not give equal numbers there."""
    installed = library_versions()
    for name, trained in manifest["libraries"].items():
        if installed.get(name) != trained:
            here = f"{installed[name]} is" if name in installed else "it is not"
            raise ArtifactError(f"model {model} was trained with {name} {trained}; {here} installed: {_AGAIN}")


def library_versions() -> dict[str, str]:
    """Versions of the libraries that a model depends on, as installed."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def content_version(*parts: Any) -> str:
    """Twelve hex digits that name the content of JSON-able parts."""
    return _digest(parts)[:12]


def _check_seal(path: Path, manifest: dict[str, Any]) -> None:
    seal = manifest.get(SEAL)
    if not isinstance(seal, dict):
        raise ArtifactError(f"{path}: field {SEAL!r} is missing or no object: {_AGAIN}")
    for name in sorted(manifest.keys() - {SEAL} | seal.keys()):
        if name not in seal:
            raise ArtifactError(f"{path}: the seal does not know field {name!r}: {_AGAIN}")
        if name not in manifest:
            raise ArtifactError(f"{path}: field {name!r} is missing: {_AGAIN}")
        if _digest(manifest[name]) != seal[name]:
            raise ArtifactError(f"{path}: field {name!r} is not what was stored: {_AGAIN}")


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number in JSON")
