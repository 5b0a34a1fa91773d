"""What keeps a collection up to date, and says when something is wrong."""
