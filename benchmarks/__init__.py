"""How fast pomona is, beside what it could be and beside others: `make bench`."""
