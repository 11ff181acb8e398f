# System automatically falls back to in-memory storage
# Check logs for: "Using in-memory fallback"

from trader.core.state_manager import RedisStateManager

manager = RedisStateManager()
await manager.initialize()

# If Redis unavailable, still works but:
# - No crash recovery
# - State lost on restart
# - Single instance only
