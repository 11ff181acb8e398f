"""From probabilities and bars to signals; may import core and utils."""
