"""Images: where they come from, which are meant, and their pixels."""
