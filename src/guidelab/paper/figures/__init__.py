"""One module a figure: `rows` makes the plotted table, `make` draws it."""
