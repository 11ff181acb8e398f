"""Every class that the guide names is there, with the guide's parameter names and defaults."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pytest

REQUIRED = inspect.Parameter.empty
ANY: Any = object()

# module, class (and method), parameter: default. ANY: the guide shows a value and names no default.
SIGNATURES: list[tuple[str, str, dict[str, Any]]] = [
    ("data.alpaca_client", "AlpacaDataClient.get_historical_bars",
     {"symbol": REQUIRED, "timeframe": "15Min", "start": ANY, "end": ANY}),
    ("data.alpaca_client", "AlpacaDataClient.get_latest_bars", {"symbols": REQUIRED}),
    ("data.alpaca_client", "AlpacaDataClient.get_account", {}),
    ("data.alpaca_client", "AlpacaDataClient.health_check", {}),
    ("data.live_feed", "LiveFeed.get_latest_bars", {"symbols": None}),
    ("data.live_feed", "LiveFeed.health_check", {}),
    ("data.live_validator", "LiveDataValidator",
     {"max_price_change_pct": 0.10, "min_volume": 1000, "max_staleness_seconds": 60}),
    ("data.live_validator", "LiveDataValidator.validate", {"df": REQUIRED}),
    ("features.institutional", "InstitutionalFeatureEngine.generate_all_features", {"df": REQUIRED}),
    ("features.point_in_time", "PointInTimeFeatureEngine.add_feature",
     {"name": REQUIRED, "calculation": REQUIRED, "lookback": ANY}),
    ("features.point_in_time", "PointInTimeFeatureEngine.compute_all", {"df": REQUIRED, "validate": True}),
    ("models.meta_labeling", "TripleBarrierLabeler",
     {"profit_taking": 0.02, "stop_loss": 0.01, "max_holding_periods": 20}),
    ("models.meta_labeling", "TripleBarrierLabeler.fit_transform", {"df": REQUIRED}),
    *[("models.ml_model", name, {"task": "classification", "iterations": 500, "learning_rate": 0.05, "depth": 6})
      for name in ("CatBoostModel", "XGBoostModel", "LightGBMModel")],
    ("models.ml_model", "CatBoostModel.fit", {"X": REQUIRED, "y": REQUIRED, "validation_data": None,
                                              "early_stopping_rounds": None}),
    ("models.ml_model", "CatBoostModel.predict_proba", {"X": REQUIRED}),
    ("models.ml_model", "CatBoostModel.health_check", {}),
    ("models.ensemble", "EnsembleModel", {"models": ("catboost", "xgboost", "lightgbm"), "voting": "soft"}),
    ("models.calibration", "ProbabilityCalibrationManager", {"auto_select": True}),
    ("models.calibration", "ProbabilityCalibrationManager.get_metrics", {}),
    ("backtest.engine", "BacktestEngine", {"initial_capital": 100_000, "fill_simulator": None}),
    ("backtest.engine", "InstitutionalBacktestEngine", {"initial_capital": 100_000, "fill_simulator": None}),
    ("backtest.engine", "BacktestEngine.run",
     {"strategy": REQUIRED, "data": REQUIRED, "start_date": None, "end_date": None}),
    ("backtest.realistic_fills", "RealisticFillSimulator",
     {"slippage_model": "sqrt_impact", "permanent_impact_coef": 0.1, "temporary_impact_coef": 0.2,
      "adverse_selection_coef": 0.5, "commission_per_share": 0.005, "min_fill_rate": 0.85}),
    ("backtest.realistic_fills", "RealisticFillSimulator.simulate_fill",
     {"symbol": REQUIRED, "side": REQUIRED, "quantity": REQUIRED, "signal_price": REQUIRED, "current_bar": REQUIRED}),
    ("risk.risk_manager", "RiskManager.check_all_limits", {}),
    ("risk.bayesian_kelly", "BayesianKellySizer",
     {"kelly_fraction": 0.25, "max_position_pct": 0.20, "min_observations": 20}),
    ("risk.bayesian_kelly", "BayesianKellySizer.get_position_size",
     {"symbol": REQUIRED, "strategy": REQUIRED, "portfolio_value": REQUIRED, "current_price": REQUIRED,
      "signal_strength": ANY}),
    ("risk.bayesian_kelly", "TradeOutcome",
     {"symbol": REQUIRED, "strategy": REQUIRED, "win": REQUIRED, "profit_pct": REQUIRED}),
    ("risk.correlation_breaker", "CorrelationCircuitBreaker",
     {"baseline_correlation": ANY, "correlation_spike_threshold": 0.25, "crisis_threshold": 0.40,
      "first_pc_threshold": 0.55}),
    ("risk.correlation_breaker", "CorrelationCircuitBreaker.check", {"recent_returns": REQUIRED}),
    ("risk.correlation_breaker", "CorrelationCircuitBreaker.get_status", {}),
    ("execution.broker_api", "AlpacaBroker.close_position", {"symbol": REQUIRED}),
    ("execution.broker_api", "AlpacaBroker.health_check", {}),
    ("execution.order_manager", "OrderManager.submit", {"signal": REQUIRED}),
    ("execution.protected_positions", "ProtectedPositionManager", {"broker_api": REQUIRED}),
    ("execution.protected_positions", "ProtectedPositionManager.open_position_with_protection",
     {"symbol": REQUIRED, "side": REQUIRED, "quantity": REQUIRED, "stop_loss_pct": 0.02, "take_profit_pct": 0.04,
      "use_bracket_order": True}),
    ("execution.impact_model", "AlmgrenChrissModel", {"permanent_impact_coef": 0.1, "temporary_impact_coef": 0.2}),
    ("execution.impact_model", "AlmgrenChrissModel.estimate_impact",
     {"quantity": REQUIRED, "price": REQUIRED, "adv": REQUIRED, "volatility": REQUIRED, "spread_bps": ANY}),
    ("execution.impact_model", "AlmgrenChrissModel.should_execute",
     {"quantity": REQUIRED, "price": REQUIRED, "adv": REQUIRED, "volatility": REQUIRED, "expected_alpha_bps": REQUIRED,
      "max_impact_to_alpha_ratio": 0.5}),
    ("execution.reconciliation", "ReconciliationEngine",
     {"broker_api": REQUIRED, "local_state": REQUIRED, "reconcile_interval": 30}),
    ("execution.reconciliation", "ReconciliationEngine.resolve_discrepancies", {"report": REQUIRED}),
    ("core.state_manager", "RedisStateManager.start_session", {"session_id": REQUIRED}),
    *[("core.state_manager", f"RedisStateManager.{name}", {})
      for name in ("initialize", "recover_state", "heartbeat", "end_session", "health_check")],
    ("core.graceful_degradation", "GracefulDegradationManager.register_component",
     {"name": REQUIRED, "component_type": REQUIRED, "health_check": ANY, "fallback_config": ANY}),
    ("core.graceful_degradation", "GracefulDegradationManager.handle_error", {"error": REQUIRED}),
    ("core.graceful_degradation", "FallbackConfig", {"fallback_action": REQUIRED, "max_cache_age_seconds": 300}),
    ("core.health_check", "HealthCheckServer", {"registry": REQUIRED, "port": ANY}),
    ("monitoring.execution_dashboard", "ExecutionMonitor",
     {"slippage_alert_threshold_bps": 10.0, "fill_rate_alert_threshold": 0.8}),
    ("monitoring.execution_dashboard", "ExecutionMonitor.start_execution",
     {"order_id": REQUIRED, "symbol": REQUIRED, "side": REQUIRED, "target_quantity": REQUIRED,
      "target_price": REQUIRED, "vwap_benchmark": None}),
    ("monitoring.execution_dashboard", "ExecutionMonitor.record_fill",
     {"order_id": REQUIRED, "fill_quantity": REQUIRED, "fill_price": REQUIRED}),
    ("monitoring.execution_dashboard", "ExecutionMonitor.generate_report", {"period_hours": 24}),
    ("analytics.attribution", "PnLAttribution.get_portfolio_attribution", {"start_date": ANY, "end_date": ANY}),
    ("analytics.attribution", "Trade",
     {**dict.fromkeys(("trade_id", "symbol", "strategy", "side", "entry_time", "entry_price", "entry_quantity",
                       "exit_time", "exit_price", "exit_quantity"), REQUIRED),
      "exit_reason": ANY, "commission": ANY, "entry_vwap": None, "exit_vwap": None}),
    ("mlops.staleness", "ModelStalenessDetector",
     {"model_name": REQUIRED, "model_trained_date": REQUIRED, "max_age_days": 30, "min_accuracy_threshold": 0.52}),
    ("mlops.staleness", "ModelStalenessDetector.record_prediction",
     {"symbol": REQUIRED, "prediction": REQUIRED, "probability": REQUIRED, "actual": REQUIRED}),
    ("mlops.staleness", "ModelStalenessDetector.get_accuracy_windows", {}),
    ("system", "AlphaTradeSystem.initialize", {}),
    ("system", "AlphaTradeSystem.emergency_halt", {}),
]

# module, record, the fields that the guide prints
FIELDS: list[tuple[str, str, tuple[str, ...]]] = [
    ("data.live_validator", "ValidationResult", ("is_valid", "issues")),
    ("data.live_validator", "ValidationIssue", ("type", "symbol", "value", "limit")),
    ("models.calibration", "CalibrationMetrics", ("expected_calibration_error", "brier_score")),
    ("backtest.realistic_fills", "SimulatedFill", ("fill_price", "slippage_bps", "market_impact_bps")),
    ("execution.protected_positions", "ProtectedPosition",
     ("position_id", "stop_loss_order_id", "take_profit_order_id", "error")),
    ("execution.reconciliation", "ReconciliationReport", ("has_discrepancies", "discrepancies")),
    ("execution.discrepancies", "Discrepancy", ("type", "details")),
    ("risk.bayesian_kelly", "KellyResult", ("fractional_kelly", "win_rate_estimate", "uncertainty_penalty")),
    ("risk.correlation_breaker", "CorrelationAlert", ("state", "action")),
    ("risk.risk_manager", "LimitCheck", ("passed", "reason")),
    ("execution.impact_model", "ImpactEstimate",
     ("total_bps", "permanent_bps", "temporary_bps", "optimal_horizon_minutes", "recommended_strategy")),
    ("execution.impact_model", "ExecutionDecision", ("should_execute", "reason", "expected_net_alpha")),
    ("monitoring.execution_dashboard", "ExecutionReport",
     ("total_executions", "avg_slippage_bps", "median_slippage_bps", "p95_slippage_bps", "avg_fill_rate",
      "pct_beat_vwap", "total_slippage_cost")),
    ("analytics.attribution", "TradeAttribution",
     ("gross_pnl", "net_pnl", "direction_alpha", "timing_alpha", "sizing_alpha", "commission_cost", "slippage_cost",
      "spread_cost", "market_impact_cost")),
    ("analytics.attribution", "PortfolioAttribution", ("total_trades", "net_pnl", "win_rate", "profit_factor")),
    ("mlops.staleness", "StalenessReport",
     ("model_name", "staleness_level", "is_stale", "issues", "recommendation", "retrain_urgency")),
    ("mlops.staleness", "AccuracyWindow", ("window_name", "accuracy")),
    ("core.state_manager", "SessionRecord", ("session_id",)),
]

# In the guide these are awaited, or they are not.
AWAITED = {
    "data.alpaca_client": {"AlpacaDataClient": ("get_account", "get_historical_bars", "get_latest_bars")},
    "execution.broker_api": {"AlpacaBroker": ("connect", "get_positions", "close_position", "get_account")},
    "execution.protected_positions": {"ProtectedPositionManager": ("open_position_with_protection",)},
    "execution.reconciliation": {"ReconciliationEngine": ("reconcile", "resolve_discrepancies")},
    "execution.order_manager": {"OrderManager": ("submit",)},
    "core.state_manager": {
        "RedisStateManager": ("initialize", "recover_state", "start_session", "heartbeat", "end_session")},
    "core.graceful_degradation": {"GracefulDegradationManager": ("handle_error",)},
    "core.health_check": {"HealthCheckServer": ("start",)},
    "system": {"AlphaTradeSystem": ("initialize", "emergency_halt")},
}

MEMBERS = {
    "analytics.attribution": {"TradeSide": {"LONG", "SHORT"}, "ExitReason": {"TAKE_PROFIT", "STOP_LOSS"}},
    "mlops.staleness": {"StalenessLevel": {"FRESH", "AGING", "STALE", "CRITICAL"}},
    "core.graceful_degradation": {"ComponentType": {"DATA"}, "FallbackAction": {"USE_CACHED"}},
}

MODULES = [
    "data.alpaca_client", "data.live_feed", "data.live_validator", "data.websocket_hardened",
    "features.institutional", "features.microstructure", "features.technical", "features.point_in_time",
    "models.ml_model", "models.ensemble", "models.meta_labeling", "models.calibration", "backtest.engine",
    "backtest.realistic_fills", "risk.risk_manager", "risk.position_sizer", "risk.bayesian_kelly",
    "risk.correlation_breaker", "execution.broker_api", "execution.order_manager", "execution.protected_positions",
    "execution.reconciliation", "execution.rejection_handler", "execution.impact_model", "strategy.base_strategy",
    "strategy.ml_strategy", "core.graceful_degradation", "core.health_check", "core.state_manager",
    "monitoring.execution_dashboard", "analytics.attribution", "mlops.monitoring", "mlops.staleness", "utils.logger",
    "utils.metrics",
]


def found(module: str, dotted: str) -> Any:
    thing: Any = importlib.import_module(f"trader.{module}")
    for name in dotted.split("."):
        thing = getattr(thing, name)
    return thing


@pytest.mark.parametrize("module", MODULES)
def test_every_module_of_the_guide_is_there(module: str) -> None:
    assert importlib.import_module(f"trader.{module}").__doc__


@pytest.mark.parametrize(("module", "dotted", "wanted"), SIGNATURES, ids=[f"{m}.{d}" for m, d, _ in SIGNATURES])
def test_parameters(module: str, dotted: str, wanted: dict[str, Any]) -> None:
    has = inspect.signature(found(module, dotted)).parameters
    for name, default in wanted.items():
        assert name in has, f"{dotted} has no {name}; it has {', '.join(has)}"
        if default is not ANY:
            assert has[name].default == default, f"{dotted}({name}={has[name].default!r}), the guide: {default!r}"
    beyond = [p.name for p in has.values() if p.name not in wanted and p.name != "self" and p.default is REQUIRED
              and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    assert not beyond, f"{dotted} asks for {beyond}, which the guide does not give"


@pytest.mark.parametrize(("module", "record", "names"), FIELDS, ids=[f"{m}.{r}" for m, r, _ in FIELDS])
def test_fields(module: str, record: str, names: tuple[str, ...]) -> None:
    cls = found(module, record)
    has = {*getattr(cls, "__dataclass_fields__", ()), *getattr(cls, "__struct_fields__", ()), *dir(cls)}
    assert set(names) <= has


@pytest.mark.parametrize(
    ("module", "cls", "method"),
    [(module, cls, method) for module, table in AWAITED.items() for cls, names in table.items() for method in names])
def test_what_the_guide_awaits_is_async(module: str, cls: str, method: str) -> None:
    assert inspect.iscoroutinefunction(found(module, f"{cls}.{method}"))


@pytest.mark.parametrize(
    ("module", "enum", "members"),
    [(module, enum, members) for module, table in MEMBERS.items() for enum, members in table.items()])
def test_words(module: str, enum: str, members: set[str]) -> None:
    assert members <= {member.name for member in found(module, enum)}


def test_risk_parameters_keep_the_guides_names() -> None:
    from trader.risk.params import RiskParams

    params = RiskParams()
    for name, value in {
        "intraday_loss_circuit_breaker": 0.01, "intraday_loss_warning": 0.005, "kelly_fraction": 0.25,
        "max_position_pct": 0.20, "min_observations": 20, "correlation_spike_threshold": 0.25,
        "crisis_threshold": 0.40, "first_pc_threshold": 0.55, "permanent_impact_coef": 0.1,
        "temporary_impact_coef": 0.2,
    }.items():
        assert getattr(params, name) == value


def test_no_chikou_span_by_default() -> None:
    from trader.features.feature_set import default_features

    assert not [name for name in default_features("15Min").names if "chikou" in name]


def test_thresholds_in_the_bundled_risk_file(repository: Any) -> None:
    text = (repository / "config" / "risk_params.yaml").read_text(encoding="utf-8")
    assert "intraday_loss_circuit_breaker: 0.01" in text
    assert "intraday_loss_warning: 0.005" in text


def test_every_snippet_is_played() -> None:
    from guide_play import SNIPPETS

    tests = "".join(path.read_text(encoding="utf-8") for path in SNIPPETS.parent.glob("test_*.py"))
    files = sorted(SNIPPETS.glob("*.py"))
    assert len(files) == 30
    assert [path.name for path in files if f'"{path.stem[3:]}"' not in tests] == []
