"""Small helpers without knowledge of trading; imports nothing of the house."""
