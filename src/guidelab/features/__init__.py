"""Feature extractors: images in, features and logits out, identified by the hash of their weights."""
