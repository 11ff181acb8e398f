"""A trained model as a directory: manifest, native booster files, JSON for the rest; nothing is ever unpickled.

``manifest.json`` says what the model is (features and their fingerprint, data and its hash, label
parameters, seed, library versions, scores) and holds the SHA-256 of every other file. A directory appears
whole or not at all. No clock is written into it: equal trainings give equal bytes, and when one was made is what the
file system says of its manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trader.core.bets import OPINION
from trader.core.probe import Health
from trader.models.calibration import ProbabilityCalibrationManager
from trader.models.ensemble import EnsembleModel
from trader.models.labels import CLASSES
from trader.models.manifest import (
    FORMAT,
    MANIFEST,
    ArtifactError,
    content_version,
    library_versions,
    read_manifest,
    require_libraries,
    sealed,
)
from trader.utils.atomic import cannot_write, sync_directory

__all__ = ["CALIBRATOR", "FORMAT", "MANIFEST", "MODEL", "ArtifactError", "ModelArtifact", "ProbabilityBatch",
           "content_version", "input_names", "library_versions", "read_manifest"]

FloatArray = NDArray[np.float64]

CALIBRATOR = "calibrator.json"
MODEL = "model"


@dataclass(frozen=True, slots=True)
class ProbabilityBatch:
    """Class probabilities of a batch of rows.

    ``raw`` and ``calibrated`` have shape ``(n, 3)``, columns loss, neutral, profit, rows summing to one;
    rows without one finite feature (a symbol without a bar) are NaN. ``failures`` says which members of the
    ensemble could not take part, and why.
    """

    raw: FloatArray
    calibrated: FloatArray
    failures: dict[str, str]

    @property
    def degraded(self) -> bool:
        """Whether a member was missing."""
        return bool(self.failures)


@dataclass(frozen=True, slots=True)
class ModelArtifact:
    """A loaded model with its calibrator and manifest."""

    manifest: dict[str, Any]
    model: EnsembleModel
    calibrator: ProbabilityCalibrationManager
    directory: Path | None = None

    @property
    def model_id(self) -> str:
        """``<name>-<version>``, the name of its directory."""
        return f"{self.manifest['name']}-{self.manifest['version']}"

    @property
    def feature_set_dict(self) -> dict[str, Any]:
        """What ``FeatureSet.from_dict`` restores the fitted features from."""
        stored: dict[str, Any] = self.manifest["features"]["set"]
        return stored

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(self.manifest["features"]["names"])

    @property
    def meta(self) -> dict[str, Any] | None:
        """The rule whose bets this model judges: ``primary``, ``params``, ``fingerprint``; None: it stands alone.

        With a rule, the classes are outcomes of the side that the rule takes, and its opinion is one more input.
        """
        found: dict[str, Any] | None = self.manifest.get("meta")
        return found

    @property
    def labels(self) -> dict[str, Any]:
        """Label parameters: what the probabilities are probabilities of."""
        labels: dict[str, Any] = self.manifest["labels"]
        return labels

    @property
    def trained_through_ns(self) -> int:
        """When the last bar that training saw became available."""
        return int(self.manifest["trained_through_ns"])

    @property
    def created(self) -> str:
        """When it was stored, RFC 3339; empty before."""
        return str(self.manifest.get("created", ""))

    @property
    def source(self) -> str:
        """``real`` or ``synthetic-intraday``: what the training bars were."""
        return str(self.manifest["data"]["source"])

    @property
    def summary(self) -> str:
        """The honest sentence about its skill."""
        return str(self.manifest["scores"].get("verdict", ""))

    def predict(self, features: ArrayLike, opinion: ArrayLike | None = None) -> ProbabilityBatch:
        """Probabilities of each row.

        Parameters
        ----------
        features : shape ``(n, n_features)`` in the order of ``feature_names``
        opinion : of a meta-model: side times strength of its rule, shape ``(n,)``; rows without one (0) are NaN
        """
        rows = np.asarray(features, dtype=np.float64)
        known = np.isfinite(rows).any(axis=1)
        if self.meta is not None:
            if opinion is None:
                raise ValueError(f"{self.model_id} judges the bets of {self.meta['primary']}: pass its opinion")
            said = np.asarray(opinion, dtype=np.float64)
            known &= np.isfinite(said) & (said != 0.0)
            rows = np.column_stack((rows, said))
        raw, calibrated = np.full((len(rows), 3), np.nan), np.full((len(rows), 3), np.nan)
        failures: dict[str, str] = {}
        if known.any():
            raw[known] = self.model.predict_proba(rows[known])
            calibrated[known] = self.calibrator.calibrate(raw[known])
            failures = dict(self.model.failures)
        return ProbabilityBatch(raw, calibrated, failures)

    def health_check(self) -> Health:
        """Whether every member still predicts; the detail says what the model is worth."""
        probe = self.predict(np.zeros((1, len(self.feature_names))), np.ones(1))
        if probe.degraded:
            failed = "; ".join(f"{name}: {reason}" for name, reason in probe.failures.items())
            return Health(False, f"{self.model_id} predicts without {failed}")
        return Health(True, f"{self.model_id}: {self.summary}")

    def require_features(self, fingerprint: str) -> None:
        """Refuse features whose code or fitted parameters differ from those of the training."""
        trained = self.manifest["features"]["fingerprint"]
        if fingerprint != trained:
            raise ArtifactError(
                f"model {self.model_id} was trained on features {trained[:12]}, this program computes "
                f"{fingerprint[:12]}: train it again (alphatrade train)"
            )

    def require_rule(self, fingerprint: str) -> None:
        """Refuse a rule whose code or parameters differ from those of the training."""
        if self.meta is not None and fingerprint != self.meta["fingerprint"]:
            raise ArtifactError(
                f"model {self.model_id} was trained on bets of {self.meta['primary']} {self.meta['fingerprint'][:12]}, "
                f"that rule is {fingerprint[:12]} now: train it again (alphatrade train)"
            )

    def save(self, models: Path) -> Path:
        """Write ``<models>/<name>-<version>/`` in one step; returns the directory.

        An equal version of other bytes is replaced, one of the same bytes stays as it is.

        Raises
        ------
        UserError
            the disk refuses; nothing is left behind
        """
        target = models / self.model_id
        fresh, old = models / f".{self.model_id}.{os.getpid()}.new", models / f".{self.model_id}.{os.getpid()}.old"
        try:
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            try:
                self.model.save(fresh / MODEL)
                (fresh / CALIBRATOR).write_text(_json(self.calibrator.to_dict()))
                files = {path.relative_to(fresh).as_posix(): _sha256(path) for path in _files(fresh)}
                (fresh / MANIFEST).write_text(_json(sealed({**self.manifest, "files": files})))
                if _same(fresh, target):
                    return target
                for path in _files(fresh):
                    _sync(path)
                if target.exists():
                    target.rename(old)
                fresh.rename(target)
                sync_directory(models)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
                shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            raise cannot_write(target, error) from error
        return target

    @classmethod
    def load(cls, directory: str | Path) -> ModelArtifact:
        """Read a model directory after checking every field and every file of it.

        Raises
        ------
        ArtifactError
            a manifest that was changed, other libraries, files that are missing, changed or strange, boosters of other
            features or classes; the message says which
        """
        root = Path(directory)
        manifest = read_manifest(root)
        require_libraries(manifest, root.name)
        _check_files(root, manifest["files"])
        try:
            model = EnsembleModel.load(root / MODEL)
            calibrator = ProbabilityCalibrationManager.from_dict(json.loads((root / CALIBRATOR).read_text()))
        except Exception as error:          # whatever a library or a parser says of bytes that are as they were stored
            raise ArtifactError(f"model {root.name} cannot be read: {type(error).__name__}: {error}") from error
        names = input_names(manifest["features"]["names"], manifest["meta"])
        for name, member in model.members.items():
            if member.classes != CLASSES:
                raise ArtifactError(f"model {root.name}: {name} has the classes {member.classes}, not {CLASSES}")
            if member.feature_names_in_ not in (None, names) or member.n_features_in_ != len(names):
                raise ArtifactError(f"model {root.name}: manifest and {name} disagree about the features")
        if calibrator.n_classes_ != len(CLASSES):
            raise ArtifactError(f"model {root.name}: the calibrator knows {calibrator.n_classes_} classes, not 3")
        return cls(manifest, model, calibrator, root)


def input_names(features: Sequence[str], meta: object) -> tuple[str, ...]:
    """Columns that the boosters see: the features, and the rule's opinion where there is a rule."""
    return (*features, OPINION) if meta else tuple(features)


def _check_files(root: Path, files: Mapping[str, str]) -> None:
    """Every listed file is there with its bytes, and no other."""
    for name, expected in sorted(files.items()):
        path = root / name
        if not path.resolve().is_relative_to(root.resolve()):
            raise ArtifactError(f"{root / MANIFEST} lists {name!r}, which lies outside the model's directory")
        if not path.is_file():
            raise ArtifactError(f"model {root.name} lacks its file {name}: train it again (alphatrade train)")
        try:
            found = _sha256(path)
        except OSError as error:
            raise ArtifactError(f"model {root.name}: {name} cannot be read: {error}") from None
        if found != expected:
            raise ArtifactError(
                f"model {root.name}: {name} is not the file that was trained (SHA-256 differs): train it again"
            )
    for name in (CALIBRATOR, f"{MODEL}/ensemble.json"):
        if name not in files:
            raise ArtifactError(f"{root / MANIFEST} does not list {name}; the model is incomplete")
    there = {path.relative_to(root).as_posix() for path in _files(root) if not path.name.startswith(".")}
    strange = sorted(there - files.keys() - {MANIFEST})
    if strange:
        raise ArtifactError(
            f"model {root.name} holds {', '.join(strange)}, which its training did not write: remove it")


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def _same(first: Path, second: Path) -> bool:
    """Whether two directories hold the same files with the same bytes."""
    names, others = ([path.relative_to(root) for path in _files(root)] for root in (first, second))
    return names == others and all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sync(path: Path) -> None:
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
