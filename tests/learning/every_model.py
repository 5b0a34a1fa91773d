"""The names of all models, as parameters of tests."""

from __future__ import annotations

import pytest

from pomona.learning.models.registry import MODELS

NAMES = [
    pytest.param(name, marks=[pytest.mark.needs("xgboost")] if name == "xgboost" else [])
    for name in MODELS
]
