"""The parts of a running session: carrying out, lock-step, control port, recovery; imports rooms below system."""
