"""What the papers claim, judged from cells, and what was found."""
