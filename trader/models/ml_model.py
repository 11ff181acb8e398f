"""CatBoost, XGBoost and LightGBM behind one interface.

Inner threads default to one: in this system parallel work is done over folds, symbols and trials.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from trader.models.base import BoosterModel, FloatArray, IntArray, Restraints, import_booster

Watched = tuple[FloatArray, IntArray] | None


class CatBoostModel(BoosterModel):
    """Symmetric trees (Prokhorenkova et al., 2018). Extra parameters go to ``catboost.CatBoost``."""

    kind: ClassVar[str] = "catboost"
    suffix: ClassVar[str] = ".cbm"
    restraints: ClassVar[Restraints] = {
        "feature_share": lambda share, classes: {"rsm": share},
        "row_share": lambda share, classes: {"bootstrap_type": "Bernoulli", "subsample": share},
        "l2": lambda strength, classes: {"l2_leaf_reg": strength},
        # symmetric trees know no such bound
        "min_rows": lambda rows, classes: {"grow_policy": "Depthwise", "min_data_in_leaf": rows},
    }

    def _train(
        self, X: FloatArray, codes: IntArray, weight: FloatArray | None, watched: Watched,
        early_stopping_rounds: int | None,
    ) -> None:
        catboost = import_booster("catboost")
        settings = {
            "loss_function": "MultiClass", "classes_count": len(self.present_), "iterations": self.iterations,
            "learning_rate": self.learning_rate, "depth": self.depth, "random_seed": self.random_state,
            "thread_count": self.thread_count, "allow_writing_files": False, "logging_level": "Silent",
            "border_count": 64, "boosting_type": "Plain", **self._restraints(), **self.params,
        }
        if early_stopping_rounds:
            settings |= {"od_type": "Iter", "od_wait": early_stopping_rounds}
        booster = catboost.CatBoost(settings)
        booster.fit(
            catboost.Pool(X, codes, weight=weight, thread_count=self.thread_count),
            eval_set=None if watched is None else catboost.Pool(*watched, thread_count=self.thread_count),
            use_best_model=bool(early_stopping_rounds),
        )
        facts = booster.get_metadata()
        for name in ("train_finish_time", "model_guid"):    # equal trees shall give equal files
            facts[name] = ""
        self._booster = booster
        self.best_iteration_ = int(booster.tree_count_)

    def _probabilities(self, X: FloatArray) -> Any:
        return self._booster.predict(X, prediction_type="Probability", thread_count=self.thread_count)

    def _gain(self) -> Any:
        return self._booster.get_feature_importance(thread_count=self.thread_count)

    def _write(self, path: Path) -> None:
        self._booster.save_model(str(path), format="cbm")

    def _read(self, path: Path) -> Any:
        return import_booster("catboost").CatBoost().load_model(str(path), format="cbm")


class XGBoostModel(BoosterModel):
    """Histogram trees (Chen and Guestrin, 2016). Extra parameters go to ``xgboost.train``."""

    kind: ClassVar[str] = "xgboost"
    suffix: ClassVar[str] = ".ubj"
    restraints: ClassVar[Restraints] = {
        "feature_share": lambda share, classes: {"colsample_bytree": share},
        "row_share": lambda share, classes: {"subsample": share},
        "l2": lambda strength, classes: {"lambda": strength},
        # counted in curvature of the softmax loss, which is 2 p (1 - p) a row: here at even odds
        "min_rows": lambda rows, classes: {"min_child_weight": rows * 2.0 * (classes - 1) / classes**2},
    }

    def _train(
        self, X: FloatArray, codes: IntArray, weight: FloatArray | None, watched: Watched,
        early_stopping_rounds: int | None,
    ) -> None:
        xgboost = import_booster("xgboost")
        settings = {
            "objective": "multi:softprob", "num_class": len(self.present_), "eta": self.learning_rate,
            "max_depth": self.depth, "tree_method": "hist", "max_bin": 64, "seed": self.random_state,
            "nthread": self.thread_count, "eval_metric": "mlogloss", "verbosity": 0,
            **self._restraints(), **self.params,
        }
        train = xgboost.QuantileDMatrix(
            X, codes, weight=weight, nthread=self.thread_count, max_bin=settings["max_bin"]
        )
        watch = []
        if watched is not None:
            watch = [(xgboost.DMatrix(*watched, nthread=self.thread_count), "validation")]
        booster = xgboost.train(
            settings, train, self.iterations, evals=watch, verbose_eval=False,
            early_stopping_rounds=early_stopping_rounds,
        )
        if early_stopping_rounds:
            booster = booster[: booster.best_iteration + 1]
        self._booster = booster
        self.best_iteration_ = int(booster.num_boosted_rounds())

    def _probabilities(self, X: FloatArray) -> Any:
        return self._booster.inplace_predict(X)

    def _gain(self) -> Any:
        score = self._booster.get_score(importance_type="total_gain")
        return np.array([score.get(f"f{i}", 0.0) for i in range(self.n_features_in_ or 0)])

    def _write(self, path: Path) -> None:
        self._booster.save_model(path)

    def _read(self, path: Path) -> Any:
        booster = import_booster("xgboost").Booster(model_file=path)
        booster.set_param({"nthread": self.thread_count})
        return booster


class LightGBMModel(BoosterModel):
    """Leaf-wise trees (Ke et al., 2017). Extra parameters go to ``lightgbm.train``."""

    kind: ClassVar[str] = "lightgbm"
    suffix: ClassVar[str] = ".txt"
    restraints: ClassVar[Restraints] = {
        "feature_share": lambda share, classes: {"feature_fraction": share},
        "row_share": lambda share, classes: {"bagging_fraction": share, "bagging_freq": 1},
        "l2": lambda strength, classes: {"lambda_l2": strength},
        "min_rows": lambda rows, classes: {"min_data_in_leaf": rows},
    }

    def _train(
        self, X: FloatArray, codes: IntArray, weight: FloatArray | None, watched: Watched,
        early_stopping_rounds: int | None,
    ) -> None:
        lightgbm = import_booster("lightgbm")
        settings = {
            "objective": "multiclass", "num_class": len(self.present_), "learning_rate": self.learning_rate,
            "max_depth": self.depth, "num_leaves": 2**self.depth - 1, "max_bin": 63,
            "seed": self.random_state, "num_threads": self.thread_count, "deterministic": True,
            "force_row_wise": True, "verbosity": -1, **self._restraints(), **self.params,
        }
        bins = {"verbosity": -1, "max_bin": settings["max_bin"]}
        train = lightgbm.Dataset(X, codes, weight=weight, params=bins)
        watch, callbacks = [], []
        if watched is not None:
            watch = [lightgbm.Dataset(*watched, reference=train)]
            if early_stopping_rounds:
                callbacks = [lightgbm.early_stopping(early_stopping_rounds, verbose=False)]
        booster = lightgbm.train(settings, train, self.iterations, valid_sets=watch, callbacks=callbacks)
        best = booster.best_iteration if early_stopping_rounds and booster.best_iteration > 0 else None
        self._booster = booster
        self.best_iteration_ = int(best or booster.current_iteration())

    def _probabilities(self, X: FloatArray) -> Any:
        return self._booster.predict(X, num_iteration=self.best_iteration_, num_threads=self.thread_count)

    def _gain(self) -> Any:
        return self._booster.feature_importance("gain", iteration=self.best_iteration_)

    def _write(self, path: Path) -> None:
        self._booster.save_model(str(path), num_iteration=self.best_iteration_)

    def _read(self, path: Path) -> Any:
        return import_booster("lightgbm").Booster(model_file=str(path))


LEARNERS: dict[str, type[BoosterModel]] = {
    model.kind: model for model in (CatBoostModel, XGBoostModel, LightGBMModel)
}


def make_learner(kind: str, **settings: Any) -> BoosterModel:
    """A learner by its name: ``catboost``, ``xgboost`` or ``lightgbm``."""
    try:
        return LEARNERS[kind](**settings)
    except KeyError:
        raise ValueError(f"unknown model {kind!r}; there are {', '.join(LEARNERS)}") from None
