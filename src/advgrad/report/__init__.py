"""reports/index.html: one page, readable alone, with every table, figure, claim and finding."""
