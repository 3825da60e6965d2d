"""Tables, figures and findings: DataFrame in; DataFrame, Figure or text out; no files, no torch."""
