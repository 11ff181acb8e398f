"""The parts of a running session: carrying out, lock-step, control port, recovery; may import all rooms below system."""
