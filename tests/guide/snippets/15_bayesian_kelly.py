from trader.risk.bayesian_kelly import BayesianKellySizer, TradeOutcome

sizer = BayesianKellySizer(
    kelly_fraction=0.25,      # Use 25% of full Kelly
    max_position_pct=0.20,    # Max 20% of portfolio per position
    min_observations=20       # Min 20 trades before full sizing
)

# Record trade outcomes (Bayesian posterior updates)
sizer.record_outcome(TradeOutcome(
    symbol='AAPL',
    strategy='momentum',
    win=True,
    profit_pct=0.025
))

# Get position size
shares, kelly_result = sizer.get_position_size(
    symbol='AAPL',
    strategy='momentum',
    portfolio_value=100000,
    current_price=175.50,
    signal_strength=0.8
)

print(f"Recommended shares: {shares}")
print(f"Kelly fraction: {kelly_result.fractional_kelly:.2%}")
print(f"Win rate estimate: {kelly_result.win_rate_estimate.mean:.2%}")
print(f"Uncertainty penalty: {kelly_result.uncertainty_penalty:.2%}")

# Key insight: Higher uncertainty → smaller position
# As more trades are recorded, uncertainty decreases
