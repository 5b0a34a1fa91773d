"""`pomona aws`: from a laptop to a cluster in Europe and back."""
