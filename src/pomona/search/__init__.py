"""The nearest images of a store."""
