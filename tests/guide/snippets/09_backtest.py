from trader.backtest.engine import BacktestEngine
from trader.backtest.realistic_fills import RealisticFillSimulator

# Realistic fill model (accounts for market impact)
fill_simulator = RealisticFillSimulator(
    slippage_model='sqrt_impact',  # Square-root market impact
    commission_per_share=0.005,
    min_fill_rate=0.85
)

# Initialize backtest engine
engine = BacktestEngine(
    initial_capital=100000,
    fill_simulator=fill_simulator
)

# Run backtest
results = engine.run(
    strategy=my_strategy,
    data=historical_data,
    start_date='2024-01-01',
    end_date='2024-06-01'
)

# Print results
print(f"Total Return: {results.total_return:.2%}")
print(f"Sharpe Ratio: {results.sharpe_ratio:.2f}")
print(f"Max Drawdown: {results.max_drawdown:.2%}")
print(f"Win Rate: {results.win_rate:.2%}")
print(f"Profit Factor: {results.profit_factor:.2f}")
