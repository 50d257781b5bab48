"""Chooses the form of each layer by measured time, error and size."""
