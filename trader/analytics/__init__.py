"""Where profit and loss came from; may import core and utils."""
