"""AWS: where images and features may be on it."""
