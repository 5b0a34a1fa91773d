"""The store: its tables, their schemas, its files and its locks."""
