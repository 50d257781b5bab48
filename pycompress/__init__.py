"""pycompress: compressed neural networks, small and fast on ordinary CPUs."""
