"""The mathematics of PCA; it knows nothing of stores or tasks."""
