"""Commands about divergences along sigma, of the same names as those they stand in for."""
