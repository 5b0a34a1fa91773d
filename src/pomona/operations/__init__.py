"""What keeps a store up to date, and says how it is."""
