"""Tables, figures and sentences of image experiments, whose metrics are qualified by a feature space: `fid@lite0`."""
