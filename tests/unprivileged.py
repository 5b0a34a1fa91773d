"""Root may read and write everything; the tests of permissions need somebody who may not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from conftest import NOBODY


@contextmanager
def unprivileged() -> Iterator[None]:
    """This process as a user without privileges: nobody where root runs it, else as it is."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
