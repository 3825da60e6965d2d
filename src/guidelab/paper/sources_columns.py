"""The rows behind each cell of a table: `X.sources.csv`, one line for each cell, part and set of rows.

Columns: `row` (of X.csv, the first below the header is 1), `columns` (of X.csv that these rows make, separated by `; `),
`how` (what is formed of the rows), `part` (value, or what it is compared with), then columns of the file of rows with the
values that the rows have; several are separated by `|`.
"""

LEADING = ("row", "columns", "how", "part")
MEASURED = ("variant", "w", "metric", "train_seed", "seed_block")  # the key of a measured row
ESTIMATED = ("point", "train_seed", "kind", "divergence", "estimator", "sigma_lo", "sigma_hi")
BETWEEN, EITHER = "; ", "|"
