"""Building blocks without knowledge of trading."""
