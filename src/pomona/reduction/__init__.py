"""Features become principal components, in tasks over the parts of a store."""
