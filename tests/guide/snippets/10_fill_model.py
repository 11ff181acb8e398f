# Impact = sigma * sqrt(Q/V) * coefficient
# Where:
#   sigma = volatility
#   Q = order quantity
#   V = average daily volume

from trader.backtest.realistic_fills import RealisticFillSimulator

simulator = RealisticFillSimulator(
    permanent_impact_coef=0.1,   # Information leakage
    temporary_impact_coef=0.2,  # Liquidity consumption
    adverse_selection_coef=0.5  # Worse fills when model is right
)

fill = simulator.simulate_fill(
    symbol='AAPL',
    side='buy',
    quantity=1000,
    signal_price=175.00,
    current_bar=bar_data
)

print(f"Fill Price: ${fill.fill_price:.2f}")
print(f"Slippage: {fill.slippage_bps:.1f} bps")
print(f"Market Impact: {fill.market_impact_bps:.1f} bps")
