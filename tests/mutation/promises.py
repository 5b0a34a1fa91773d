"""Which modules carry which promise, and the quick tests that prove it, the fastest first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Promise:
    """files: patterns of modules; tests: arguments of pytest; tuning: constants of speed alone."""

    files: tuple[str, ...]
    tests: tuple[str, ...]
    tuning: tuple[str, ...] = ()


PROMISES = {
    "plan": Promise(
        files=("src/pomona/store/plan.py",),
        tests=("tests/store/test_plan.py",),
    ),
    "features": Promise(
        files=("src/pomona/extraction/*.py",),
        tests=(
            "tests/extraction",
            "tests/test_api.py::test_featurize_gives_what_the_store_holds",
            "tests/pipeline/test_pipeline.py",
        ),
        tuning=("WAITING", "READ_BYTES", "WAITING_BYTES"),
    ),
    "store": Promise(
        files=(
            "src/pomona/store/store.py",
            "src/pomona/store/layout.py",
            "src/pomona/store/manifest.py",
            "src/pomona/store/tables.py",
            "src/pomona/store/vectors.py",
        ),
        tests=(
            "tests/store/test_tables.py",
            "tests/store/test_manifest.py",
            "tests/store/test_vectors.py",
            "tests/store/test_store.py",
            "tests/store/test_folders_local.py",
        ),
        tuning=("PREFETCHED",),
    ),
    "lease": Promise(
        files=("src/pomona/store/locks/lease.py",),
        tests=(
            "tests/store/test_store.py",
            "tests/store/test_locks_lease.py",
            "--deselect=tests/store/test_locks_lease.py::test_a_run_whose_lock_was_taken_over_stops[spark]",
        ),
        tuning=("LEASE_S", "BEAT_S", "REFUSALS"),
    ),
    "pca": Promise(
        files=("src/pomona/pca/moments.py", "src/pomona/reduction/*.py"),
        tests=("tests/pca/test_pca.py", "tests/reduction"),
        tuning=("GROUPS", "ROWS", "BLOCK_ROWS"),
    ),
}
