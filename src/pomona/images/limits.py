"""The defaults of the limits on one image, which a run may set."""

from __future__ import annotations

MAX_PIXELS = 100_000_000
IMAGE_TIMEOUT_S = 60.0
