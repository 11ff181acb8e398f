from trader.execution.protected_positions import ProtectedPositionManager

# Create position manager
position_manager = ProtectedPositionManager(broker_api)

# Open position with bracket order (broker-side SL/TP)
position, success = await position_manager.open_position_with_protection(
    symbol='AAPL',
    side='buy',
    quantity=100,
    stop_loss_pct=0.02,     # 2% stop loss
    take_profit_pct=0.04,   # 4% take profit
    use_bracket_order=True  # Server-side protection
)

if success:
    print(f"Position opened: {position.position_id}")
    print(f"Stop Loss Order: {position.stop_loss_order_id}")
    print(f"Take Profit Order: {position.take_profit_order_id}")
else:
    print(f"Failed to open position: {position.error}")
