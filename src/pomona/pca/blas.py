"""BLAS on one thread, which gives the same bits on any machine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import numpy as np  # noqa: F401 - the controller knows the libraries that are there when it is made
from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[Any]:
    """Keeps NumPy's BLAS to one thread in a `with` block, without a search for it each time."""
    return _controller().limit(limits=1, user_api="blas")  # type: ignore[no-any-return]


@cache
def _controller() -> Any:
    """The BLAS of this process: to find it takes a millisecond, more than a row takes."""
    return ThreadpoolController()
