"""What runs networks: each runtime is a module here and an entry in `registry`."""
