"""Batch stages from data to validated model; may import all rooms below system."""
