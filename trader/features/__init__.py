"""Features that see no future, computed once for batch and live; may import core and utils."""
