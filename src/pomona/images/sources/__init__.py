"""Where images come from: a folder, a bucket or a pack."""
