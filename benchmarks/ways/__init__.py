"""Processes that are measured: each gets ready, then answers every order with what it took."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any


def serve(prepare: Callable[[], Callable[..., dict[str, Any]]]) -> None:
    """Gets ready, says so, and answers each order (a JSON object a line) until there is none.

    What libraries print meanwhile goes to stderr.
    """
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        measure = prepare()
        print("{}", file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(measure(**json.loads(line))), file=answers, flush=True)
