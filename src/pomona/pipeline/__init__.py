"""The data's way: `run.py` tells it on one page."""
