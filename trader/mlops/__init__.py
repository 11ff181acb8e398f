"""How fit a model still is: drift, accuracy, age; may import core and utils."""
