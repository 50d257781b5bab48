"""Low-rank factors of weights."""
