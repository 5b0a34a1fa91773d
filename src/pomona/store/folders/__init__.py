"""Where a store lies: a folder on disk or in a bucket."""
