"""pomona on Spark."""
