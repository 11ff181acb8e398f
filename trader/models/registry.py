"""Which of the trained models is the one in use: a pointer file per name, with promotion and rollback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trader.models.artifact import ArtifactError, ModelArtifact, read_manifest
from trader.utils.atomic import atomic_write_text

_KEPT = 20


def models_dir(home: Path) -> Path:
    """Where the models of a home live."""
    return home / "models"


def store_model(home: Path, artifact: ModelArtifact) -> Path:
    """Write an artefact under the home and make it the current one of its name; returns its directory."""
    directory = artifact.save(models_dir(home))
    promote(home, artifact.manifest["name"], directory.name)
    return directory


def latest_model(home: Path, name: str = "ml_momentum", timeframe: str | None = None) -> Path | None:
    """The directory of the current model of a name; None when there is none.

    Where the pointed model is gone, or is not of the wanted ``timeframe`` (such as ``15Min``), the most
    recently created one that fits takes its place. One that is there but must not be used is returned all the same:
    loading it says what is wrong, which another model in its place would hide.
    """
    stored = {f"{m['name']}-{m['version']}": m for m in list_models(home, name)}
    fitting = [d for d, m in stored.items() if timeframe in (None, m["data"].get("timeframe"))]
    pointed = _pointer(home, name).get("current")
    if pointed and pointed not in stored and (models_dir(home) / pointed).is_dir():
        return models_dir(home) / str(pointed)
    if not fitting:
        return None
    return models_dir(home) / (pointed if pointed in fitting else fitting[0])


def list_models(home: Path, name: str | None = None) -> list[dict[str, Any]]:
    """Manifests of the stored models, newest first; directories that hold none are left out."""
    manifests = []
    for path in sorted(models_dir(home).glob("[!.]*/manifest.json")):
        try:
            manifest = read_manifest(path.parent)
        except ArtifactError:
            continue
        if path.parent.name == f"{manifest['name']}-{manifest['version']}" and name in (None, manifest["name"]):
            manifests.append(manifest)
    return sorted(manifests, key=lambda m: (m["created"], m["version"]), reverse=True)


def refused_models(home: Path) -> dict[str, str]:
    """Directories that look like models and must not be used, and why."""
    found = {}
    for path in sorted(models_dir(home).glob("[!.]*/manifest.json")):
        try:
            manifest = read_manifest(path.parent)
            if path.parent.name != f"{manifest['name']}-{manifest['version']}":
                found[path.parent.name] = f"it holds {manifest['name']}-{manifest['version']}"
        except ArtifactError as error:
            found[path.parent.name] = str(error)
    return found


def promote(home: Path, name: str, directory_name: str) -> None:
    """Make a stored model the current one; the one before is remembered for `rollback`."""
    if not _is_model(models_dir(home) / directory_name, name):
        raise ArtifactError(f"{models_dir(home) / directory_name} is no model of the name {name}")
    pointer = _pointer(home, name)
    current, previous = pointer.get("current"), [p for p in pointer.get("previous", []) if p != directory_name]
    if current and current != directory_name:
        previous = [current, *(p for p in previous if p != current)]
    _write_pointer(home, name, directory_name, previous)


def champion(home: Path, name: str) -> str | None:
    """The directory name of the model in use, whose challengers are the others of its name; None when there is none."""
    found = latest_model(home, name)
    return None if found is None else found.name


def rollback(home: Path, name: str) -> Path:
    """Return to the model that was current before; returns its directory."""
    previous = [p for p in _pointer(home, name).get("previous", []) if _is_model(models_dir(home) / p, name)]
    if not previous:
        raise ArtifactError(f"no earlier model of the name {name} is stored under {models_dir(home)}")
    _write_pointer(home, name, previous[0], previous[1:])
    return models_dir(home) / str(previous[0])


def _pointer(home: Path, name: str) -> dict[str, Any]:
    try:
        pointer = json.loads((models_dir(home) / f"{name}.current").read_text())
    except (OSError, ValueError):
        return {}
    return pointer if isinstance(pointer, dict) else {}


def _write_pointer(home: Path, name: str, current: str, previous: list[str]) -> None:
    text = json.dumps({"current": current, "previous": previous[:_KEPT]}, indent=1)
    atomic_write_text(models_dir(home) / f"{name}.current", text + "\n")


def _is_model(directory: Path, name: str) -> bool:
    try:
        return bool(read_manifest(directory)["name"] == name)
    except ArtifactError:
        return False
