"""Where images come from: a folder, a bucket, a pack or containers."""
