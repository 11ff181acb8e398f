from trader.execution.impact_model import AlmgrenChrissModel

impact_model = AlmgrenChrissModel(
    permanent_impact_coef=0.1,
    temporary_impact_coef=0.2
)

# Estimate impact
estimate = impact_model.estimate_impact(
    quantity=1000,
    price=175.50,
    adv=5_000_000,      # Average daily volume
    volatility=0.02,    # Daily volatility (2%)
    spread_bps=3.0      # Bid-ask spread
)

print(f"Expected Impact: {estimate.total_bps:.1f} bps")
print(f"  Permanent: {estimate.permanent_bps:.1f} bps")
print(f"  Temporary: {estimate.temporary_bps:.1f} bps")
print(f"Optimal Horizon: {estimate.optimal_horizon_minutes:.0f} minutes")
print(f"Recommended Strategy: {estimate.recommended_strategy}")

# Should we execute?
decision = impact_model.should_execute(
    quantity=1000,
    price=175.50,
    adv=5_000_000,
    volatility=0.02,
    expected_alpha_bps=15.0,           # Expected return
    max_impact_to_alpha_ratio=0.5      # Don't trade if impact > 50% of alpha
)

if decision.should_execute:
    print(f"Execute: Net alpha = {decision.expected_net_alpha:.1f} bps")
else:
    print(f"Skip trade: {decision.reason}")
