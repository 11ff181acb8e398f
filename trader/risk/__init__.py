"""Four layers of rules, sizing, breakers; may import core and utils."""
