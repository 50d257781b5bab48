"""Statistics of calibration samples: ranges, moments, and the error of the outputs."""
