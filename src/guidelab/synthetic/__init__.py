"""Made-up files in the formats of real ones, for trying a whole experiment without data or weights."""
