"""What was measured of several models: as a page, and as pictures."""
