"""Execution quality; may import core and utils."""
