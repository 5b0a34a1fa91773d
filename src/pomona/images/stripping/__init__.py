"""Image files without their metadata: a file for each format."""
