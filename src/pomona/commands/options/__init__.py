"""Options that several commands share: a file for each topic."""
