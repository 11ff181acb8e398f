from trader.core.health_check import HealthCheckRegistry, HealthCheckServer

registry = HealthCheckRegistry()

# Register component health checks
registry.register('broker_api', broker_api.health_check)
registry.register('data_feed', data_feed.health_check)
registry.register('redis', state_manager.health_check)
registry.register('model', model.health_check)

# Start HTTP server
server = HealthCheckServer(registry, port=8080)
await server.start()

# Available endpoints:
# GET /health       - Overall system health
# GET /health/live  - Liveness probe (is process running?)
# GET /health/ready - Readiness probe (can handle requests?)
