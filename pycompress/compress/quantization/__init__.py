"""Which tensors become integers, on which grids, and how weights are rounded."""
