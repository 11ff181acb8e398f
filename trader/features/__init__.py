"""Features that see no future; may import core and utils."""
