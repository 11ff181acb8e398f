"""Model directories: round trip, refusal of what was changed, pointer and rollback."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from trader.models.artifact import (
    FORMAT,
    ArtifactError,
    ModelArtifact,
    content_version,
    library_versions,
    read_manifest,
)
from trader.models.calibration import ProbabilityCalibrationManager
from trader.models.ensemble import EnsembleModel
from trader.models.manifest import sealed
from trader.models.registry import latest_model, list_models, models_dir, promote, refused_models, rollback, store_model


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
        "format": FORMAT, "name": "m", "version": version, "seed": 0,
        "trained_through_ns": 5,
        "data": {"source": "real", "timeframe": "15Min" if version == "1" else "1Day", "symbols": ["AAA"],
                 "start": "2024-01-02", "end": "2024-02-02", "hash": "0" * 64},
        "labels": {"profit_taking": 2.0, "stop_loss": 2.0, "max_holding_periods": 5}, "meta": None,
        "scores": {"verdict": "no edge", "log_loss": 1.0}, "libraries": library_versions(),
        "monitoring": {
            "expected_accuracy": 0.3, "expected_calibration_error": 0.1, "max_age_days": 30.0, "drift": {}},
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
    ({"features": None}, r"\$.features"),
    ({"files": {"../escape": "0"}}, "outside"),
    ({"files": {}}, "does not list"),
    ({"libraries": {"xgboost": "0.1"}}, r"was trained with xgboost 0.1; .* installed"),
    ({"libraries": {"catboost": "0.1"}}, r"was trained with catboost 0.1; [0-9.]+ is installed"),
])
def test_a_wrong_manifest_is_refused(trained, tmp_path, change, message):
    directory = artifact(trained).save(tmp_path)
    path = directory / "manifest.json"
    path.write_text(json.dumps(sealed({**json.loads(path.read_text()), **change})))
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


# -- damage of every kind -------------------------------------------------------------------------------------

STRANGE = (None, "x", -1, 0.5, True, [], {}, ["x"], {"x": 1})


def places(value, path=()):
    """The path of everything in a manifest."""
    inside = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, own in inside:
        yield (*path, key)
        yield from places(own, (*path, key))


def changed(manifest: dict, path: tuple, *new) -> dict:
    """The manifest with another value at a path, or without it."""
    out = json.loads(json.dumps(manifest))
    at = out
    for key in path[:-1]:
        at = at[key]
    if new:
        at[path[-1]] = new[0]
    else:
        del at[path[-1]]
    return out


def test_whatever_is_changed_in_a_manifest_is_refused_by_the_name_of_its_field(trained, tmp_path):
    directory = artifact(trained).save(tmp_path)
    path = directory / "manifest.json"
    stored = json.loads(path.read_text())
    tried = 0
    for place in list(places(stored)):
        for new in ((), *((value,) for value in STRANGE)):
            other = changed(stored, place, *new)
            if other == stored:
                continue
            path.write_text(json.dumps(other))
            with pytest.raises(ArtifactError) as caught:
                ModelArtifact.load(directory)
            wanted = place[1] if place[0] == "seal" and len(place) > 1 else place[0]
            assert str(wanted) in str(caught.value), (place, new)
            assert "\n" not in str(caught.value)
            tried += 1
    assert tried > 300
    path.write_text(json.dumps({**stored, "more": 1}))
    with pytest.raises(ArtifactError, match="the seal does not know field 'more'"):
        ModelArtifact.load(directory)
    path.write_text(json.dumps(stored))
    ModelArtifact.load(directory)


def test_a_manifest_sealed_anew_is_refused_or_harmless_but_never_a_traceback(trained, tmp_path):
    directory = artifact(trained).save(tmp_path)
    path = directory / "manifest.json"
    stored = json.loads(path.read_text())
    loaded = refused = 0
    for place in [p for p in places(stored) if p[0] != "seal"]:
        for new in ((), *((value,) for value in STRANGE)):
            path.write_text(json.dumps(sealed(changed(stored, place, *new))))
            try:
                found = ModelArtifact.load(directory)
            except ArtifactError:
                refused += 1
                continue
            assert found.health_check().healthy, (place, new)
            loaded += 1
    assert refused > 2 * loaded > 0


def same_values(one: bytes, other: bytes) -> bool:
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


def test_bytes_flipped_cut_off_or_added_are_refused(trained, tmp_path):
    directory = artifact(trained).save(tmp_path)
    names = sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file())
    rng = np.random.default_rng(0)
    for name in names:
        path = directory / name
        good = path.read_bytes()
        broken = [good[:cut] for cut in (0, 1, len(good) // 2, len(good) - 2)] + [good + b"x", b"\xff\xfe" + good]
        for at in rng.integers(0, len(good), 60).tolist():
            bad = bytearray(good)
            bad[at] ^= 1 << int(rng.integers(0, 8))
            broken.append(bytes(bad))
        for bad in broken:
            path.write_bytes(bad)
            if name == "manifest.json" and same_values(bad, good):      # 1e-05 written as 1E-05
                continue
            with pytest.raises(ArtifactError, match=name.replace(".", r"\.")):
                ModelArtifact.load(directory)
        path.unlink()
        path.mkdir()
        with pytest.raises(ArtifactError, match=name.replace(".", r"\.")):
            ModelArtifact.load(directory)
        path.rmdir()
        path.write_bytes(good)
    (directory / "model" / "more.txt").write_text("x")
    with pytest.raises(ArtifactError, match=r"holds model/more.txt, which its training did not write"):
        ModelArtifact.load(directory)


def test_what_boosters_and_calibrator_say_of_themselves_is_compared_with_the_manifest(trained, tmp_path):
    X, model, _ = trained
    named = artifact(trained)
    for changes, words in (
        ({"feature_names_in_": ("a", "b", "d")}, "disagree about the features"),
        ({"n_features_in_": 4}, "disagree about the features"),
        ({"classes": (2, 1, 0)}, r"catboost has the classes \(2, 1, 0\)"),
    ):
        member = model.members["catboost"]
        before = {name: getattr(member, name) for name in changes}
        for name, value in changes.items():
            setattr(member, name, value)
        directory = named.save(tmp_path)
        for name, value in before.items():
            setattr(member, name, value)
        with pytest.raises(ArtifactError, match=words):
            ModelArtifact.load(directory)
    two = ProbabilityCalibrationManager().fit(model.predict_proba(X)[:, 2], np.arange(len(X)) % 2)
    directory = ModelArtifact(named.manifest, model, two).save(tmp_path)
    with pytest.raises(ArtifactError, match="the calibrator knows 1 classes"):
        ModelArtifact.load(directory)


def test_a_champion_that_was_changed_is_not_hidden_by_another_model(trained, tmp_path):
    store_model(tmp_path, artifact(trained, "1"))
    second = store_model(tmp_path, artifact(trained, "2"))
    text = (second / "manifest.json").read_text()
    (second / "manifest.json").write_text(text.replace('"verdict": "no edge"', '"verdict": "rich"'))
    assert latest_model(tmp_path, "m") == second
    with pytest.raises(ArtifactError, match="field 'scores' is not what was stored"):
        ModelArtifact.load(second)
    assert [m["version"] for m in list_models(tmp_path)] == ["1"]
    assert list(refused_models(tmp_path)) == ["m-2"]
    shutil.copytree(models_dir(tmp_path) / "m-1", models_dir(tmp_path) / "m-9")
    assert refused_models(tmp_path)["m-9"] == "it holds m-1"


def test_a_model_read_and_stored_again_says_the_same_of_everything(trained, tmp_path):
    """What is compared are the bytes on the disk; storing again what was read writes the very same."""
    directory = artifact(trained).save(tmp_path / "first")
    again = ModelArtifact.load(directory).save(tmp_path / "second")
    third = ModelArtifact.load(again)
    X = trained[0]
    assert np.array_equal(third.predict(X).raw, artifact(trained).predict(X).raw)
    assert np.array_equal(third.predict(X).calibrated, artifact(trained).predict(X).calibrated)
    assert third.manifest["files"] == read_manifest(directory)["files"]
