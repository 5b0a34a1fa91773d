"""The models that can be a store's classifier."""
