"""Two sets of results, cell by cell: which cells differ, and which by more than chance."""
