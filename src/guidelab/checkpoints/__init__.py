"""Weights published by others: read without running anything in them, and brought into our nets' names."""
