"""Chooses the tensors that become integers and their grids, and rounds weights."""
