from trader.analytics.attribution import PnLAttribution, Trade, TradeSide, ExitReason

attribution = PnLAttribution()

# Record a completed trade
trade = Trade(
    trade_id='t_123',
    symbol='AAPL',
    strategy='momentum',
    side=TradeSide.LONG,
    entry_time=datetime(2024, 1, 15, 10, 30),
    entry_price=175.00,
    entry_quantity=100,
    exit_time=datetime(2024, 1, 15, 14, 30),
    exit_price=178.50,
    exit_quantity=100,
    exit_reason=ExitReason.TAKE_PROFIT,
    commission=1.00,
    entry_vwap=175.10,
    exit_vwap=178.40
)

# Get attribution breakdown
attr = attribution.add_trade(trade)

print("=== Trade Attribution ===")
print(f"Gross P&L: ${attr.gross_pnl:.2f}")
print(f"Net P&L: ${attr.net_pnl:.2f}")
print()
print("Alpha Sources:")
print(f"  Direction Alpha: ${attr.direction_alpha:.2f}")
print(f"  Timing Alpha: ${attr.timing_alpha:.2f}")
print(f"  Sizing Alpha: ${attr.sizing_alpha:.2f}")
print()
print("Costs:")
print(f"  Commission: ${attr.commission_cost:.2f}")
print(f"  Slippage: ${attr.slippage_cost:.2f}")
print(f"  Spread: ${attr.spread_cost:.2f}")
print(f"  Market Impact: ${attr.market_impact_cost:.2f}")

# Portfolio-level report
portfolio = attribution.get_portfolio_attribution(
    start_date=datetime(2024, 1, 1),
    end_date=datetime(2024, 6, 30)
)

print(f"\n=== Portfolio Attribution ===")
print(f"Total Trades: {portfolio.total_trades}")
print(f"Net P&L: ${portfolio.net_pnl:,.2f}")
print(f"Win Rate: {portfolio.win_rate:.1%}")
print(f"Profit Factor: {portfolio.profit_factor:.2f}")
