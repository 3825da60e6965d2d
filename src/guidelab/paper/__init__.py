"""Tables, figures and sentences: DataFrame in, DataFrame, Figure or text out. No files, no torch, no measuring."""
