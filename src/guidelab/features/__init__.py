"""Feature extractors: images in, features and logits out, with the hash of the weights that made them."""
