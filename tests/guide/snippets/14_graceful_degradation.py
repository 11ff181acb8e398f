from trader.core.graceful_degradation import GracefulDegradationManager

degradation_manager = GracefulDegradationManager()

# Register components
degradation_manager.register_component(
    name='data_feed',
    component_type=ComponentType.DATA,
    health_check=data_feed.health_check,
    fallback_config=FallbackConfig(
        fallback_action=FallbackAction.USE_CACHED,
        max_cache_age_seconds=300
    )
)

# On failure, system automatically:
# 1. Uses cached data (up to 5 minutes old)
# 2. Reduces position sizes
# 3. Halts new positions if critical
