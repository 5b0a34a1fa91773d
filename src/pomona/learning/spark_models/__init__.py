"""Models that Spark fits: the same settings, the same graphs; only the fit runs elsewhere."""
