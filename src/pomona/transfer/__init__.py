"""Images and results to and from elsewhere: pack, upload, download."""
