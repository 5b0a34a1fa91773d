"""Drawn photographs of fruit, to try pomona with."""
