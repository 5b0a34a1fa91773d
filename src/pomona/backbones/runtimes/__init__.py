"""Libraries that run networks: each is a module here and an entry in `registry`."""
