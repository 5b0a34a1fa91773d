"""The runtimes by name.

To add a runtime, write a module with the functions of `base.Implementation`, and give it an entry
in `RUNTIMES`. The command line then offers it and completes its name, runs check that workers have
its library and record its version, and `pomona doctor` says how to install it and measures it.
"""

from __future__ import annotations

from pomona.backbones.runtimes.base import Runtime
from pomona.errors import UsageError

# Batches whose activations fit into a core's caches: the best of 1 to 32, or within 2 % of it, on
# Zen 4 (1 MiB of L2 a core) and Sapphire Rapids (2 MiB). Larger ones run slower.
_FLOAT32, _BFLOAT16, _INT8 = {"float32": 2}, {"bfloat16": 4}, {"int8": 4}

RUNTIMES: dict[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        Runtime(
            name="onnxruntime",
            implementation="pomona.backbones.runtimes.onnxruntime",
            library="onnxruntime",
            package="onnxruntime",
            batch_sizes=_FLOAT32 | _INT8,
        ),
        Runtime(
            name="openvino",
            implementation="pomona.backbones.runtimes.openvino",
            library="openvino",
            package="openvino",
            batch_sizes=_FLOAT32 | _BFLOAT16,
            extra="openvino",
        ),
    )
}
DEFAULT = "onnxruntime"


def get(name: str, precision: str) -> Runtime:
    """Returns a runtime that has a precision.

    Raises
    ------
    UsageError
        If there is no such runtime, or it lacks the precision.
    """
    runtime = RUNTIMES.get(name)
    if runtime is None:
        raise UsageError(f"`runtime` {name}: choose {' or '.join(RUNTIMES)}")
    if precision not in runtime.batch_sizes:
        able = [each.name for each in RUNTIMES.values() if precision in each.batch_sizes]
        remedy = f"add `runtime` {able[0]}" if able else f"choose {' or '.join(precisions())}"
        raise UsageError(f"`precision` {precision}: {name} does not have it; {remedy}")
    return runtime


def precisions() -> list[str]:
    """Returns the precisions that any runtime has."""
    return list(dict.fromkeys(name for each in RUNTIMES.values() for name in each.batch_sizes))
