"""Orders at a broker: adapter, manager, reconciliation, protection; may import core and utils."""
