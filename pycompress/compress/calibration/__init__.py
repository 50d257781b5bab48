"""What calibration samples say: ranges, moments, and the error of the outputs."""
