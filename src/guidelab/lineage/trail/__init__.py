"""From a printed number back to what it was made from: rows, samples, nets, data, and the jobs that made them."""
