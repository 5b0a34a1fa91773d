"""The bounds of an image that a run may set, and their defaults."""

from __future__ import annotations

MAX_PIXELS = 100_000_000
IMAGE_TIMEOUT_S = 60.0
