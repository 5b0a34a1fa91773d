"""Classifiers: from the rows of a store to labels that can be trusted."""
