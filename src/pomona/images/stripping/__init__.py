"""Stripping: image files without their metadata, one module for each format."""
