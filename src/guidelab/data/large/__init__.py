"""Datasets larger than memory: read, cropped and written one image at a time."""
