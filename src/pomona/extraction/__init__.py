"""Images become features: a shard at a time, or in memory."""
