"""Which weights and channels to remove, and what the others become."""
