"""What keeps a store right: verify, forget, import, doctor."""
