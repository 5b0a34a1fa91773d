"""Pages of the documentation that are made from pomona itself, and the check of all others."""
