"""Model directories: round trip, refusal of what was changed, pointer and rollback."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from trader.models.artifact import ArtifactError, ModelArtifact, content_version, read_manifest
from trader.models.calibration import ProbabilityCalibrationManager
from trader.models.ensemble import EnsembleModel
from trader.models.registry import latest_model, list_models, models_dir, promote, rollback, store_model


@pytest.fixture(scope="module")
def trained():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    y = np.digitize(X[:, 0] + rng.normal(size=300), [-0.6, 0.6])
    model = EnsembleModel(iterations=6, depth=2, learning_rate=0.2).fit(X, y)
    return X, model, ProbabilityCalibrationManager().fit(model.predict_proba(X), y)


def artifact(trained, version: str = "1") -> ModelArtifact:
    _, model, calibrator = trained
    manifest = {
        "format": 1, "name": "m", "version": version, "seed": 0,
        "trained_through_ns": 5,
        "data": {"source": "real", "timeframe": "15Min" if version == "1" else "1Day"},
        "labels": {}, "scores": {"verdict": "no edge"},
        "features": {"names": ["a", "b", "c"], "fingerprint": "f" * 64, "set": {"x": 1}}, "files": {},
    }
    return ModelArtifact(manifest, model, calibrator)


def test_round_trip_is_bit_identical(trained, tmp_path):
    X = trained[0]
    before = artifact(trained)
    directory = before.save(tmp_path)
    after = ModelArtifact.load(directory)
    assert after.model_id == directory.name == "m-1"
    assert np.array_equal(after.predict(X).raw, before.predict(X).raw)
    assert np.array_equal(after.predict(X).calibrated, before.predict(X).calibrated)
    np.testing.assert_allclose(after.predict(X).calibrated.sum(axis=1), 1.0)
    assert (after.feature_set_dict, after.trained_through_ns, after.source) == ({"x": 1}, 5, "real")
    assert [p.name for p in tmp_path.iterdir()] == ["m-1"]
    assert {p.suffix for p in directory.rglob("*.*")} <= {".json", ".cbm", ".ubj", ".txt"}


def test_an_equal_model_stored_again_stays_as_it_is(trained, tmp_path):
    directory = artifact(trained).save(tmp_path)
    file = directory / "manifest.json"
    os.utime(file, ns=(10**18, 10**18))
    before = file.stat().st_mtime_ns, file.read_bytes()
    loaded = ModelArtifact.load(directory)
    assert loaded.created == "2001-09-09T01:46:40.000000Z"
    assert b"created" not in before[1]
    loaded.save(tmp_path)
    assert (file.stat().st_mtime_ns, file.read_bytes()) == before
    (directory / "calibrator.json").write_text("{}")
    loaded.save(tmp_path)
    assert ModelArtifact.load(directory).predict(trained[0]).raw.shape == (300, 3)
    assert file.stat().st_mtime_ns > before[0]


def test_rows_without_features_have_no_probability(trained):
    X = trained[0][:3].copy()
    X[1] = np.nan
    X[2, 0] = np.nan
    batch = artifact(trained).predict(X)
    assert np.isnan(batch.calibrated[1]).all()
    assert np.isfinite(batch.calibrated[[0, 2]]).all()
    assert not batch.degraded


def test_health_names_a_member_that_fails(trained, tmp_path, monkeypatch):
    model = ModelArtifact.load(artifact(trained).save(tmp_path))
    assert model.health_check() == (True, "m-1: no edge")

    def broken(_):
        raise OSError("gone")

    monkeypatch.setattr(model.model.members["xgboost"], "predict_proba", broken)
    assert model.health_check() == (False, "m-1 predicts without xgboost: OSError: gone")


def test_every_changed_file_is_refused_by_name(trained, tmp_path):
    directory = artifact(trained).save(tmp_path)
    for name in read_manifest(directory)["files"]:
        copy = tmp_path / "copy"
        shutil.copytree(directory, copy)
        data = bytearray((copy / name).read_bytes())
        data[len(data) // 2] ^= 1
        (copy / name).write_bytes(data)
        with pytest.raises(ArtifactError, match=name.replace(".", r"\.")):
            ModelArtifact.load(copy)
        (copy / name).unlink()
        with pytest.raises(ArtifactError, match="lacks its file"):
            ModelArtifact.load(copy)
        shutil.rmtree(copy)


@pytest.mark.parametrize(("change", "message"), [
    ({"format": 9}, "format 9"),
    ({"features": None}, "'features'"),
    ({"files": {"../escape": "0"}}, "outside"),
    ({"files": {}}, "does not list"),
])
def test_a_wrong_manifest_is_refused(trained, tmp_path, change, message):
    directory = artifact(trained).save(tmp_path)
    path = directory / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ArtifactError, match=message):
        ModelArtifact.load(directory)


def test_other_features_are_refused(trained):
    artifact(trained).require_features("f" * 64)
    with pytest.raises(ArtifactError, match="train it again"):
        artifact(trained).require_features("0" * 64)


def test_pointer_promotion_and_rollback(trained, tmp_path):
    assert latest_model(tmp_path, "m") is None
    first = store_model(tmp_path, artifact(trained, "1"))
    second = store_model(tmp_path, artifact(trained, "2"))
    assert latest_model(tmp_path, "m") == second == latest_model(tmp_path, "m", "1Day")
    assert latest_model(tmp_path, "m", "15Min") == first
    assert latest_model(tmp_path, "m", "5Min") is None
    assert [m["version"] for m in list_models(tmp_path)] == ["2", "1"]
    assert rollback(tmp_path, "m") == first == latest_model(tmp_path, "m")
    promote(tmp_path, "m", "m-2")
    shutil.rmtree(second)
    assert latest_model(tmp_path, "m") == first
    with pytest.raises(ArtifactError, match="no model of the name"):
        promote(tmp_path, "m", "m-2")
    (models_dir(tmp_path) / "m.current").write_text("{broken")
    assert latest_model(tmp_path, "m") == first


def test_storing_the_same_version_again_replaces_it(trained, tmp_path):
    store_model(tmp_path, artifact(trained))
    directory = store_model(tmp_path, artifact(trained))
    ModelArtifact.load(directory)
    assert sorted(p.name for p in models_dir(tmp_path).iterdir()) == ["m-1", "m.current"]


def test_content_version_depends_on_content_alone():
    assert content_version({"a": 1, "b": 2}) == content_version({"b": 2, "a": 1})
    assert content_version({"a": 1}) != content_version({"a": 2})
