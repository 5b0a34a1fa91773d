"""Which modules carry which promise, and the tests that prove it, the fastest first."""

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
        tests=(
            "tests/store/test_plan.py",
            "tests/pipeline/test_sync.py",
            "--deselect=tests/pipeline/test_sync.py::test_changes_interrupted_at_random_end_as_a_fresh_store",
        ),
    ),
    "features": Promise(
        files=("src/pomona/extraction/*.py",),
        tests=(
            "tests/pipeline/test_pipeline.py",
            "tests/test_api.py::test_featurize_gives_what_the_store_holds",
            "tests/backbones/test_stores_of_runtimes.py",
            "tests/pipeline/test_retry_errors.py",
            "--deselect=tests/pipeline/test_retry_errors.py::test_a_codec_that_crashes_or_hangs_costs_one_image_each",
            "tests/commands/test_make.py::test_new_changed_touched_and_removed_images",
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
            "tests/store/test_store.py",
            "tests/store/test_tables.py",
            "tests/store/test_vectors.py",
            "tests/store/test_manifest.py",
            "tests/store/test_folders_local.py",
            "tests/pipeline/test_pipeline.py",
            "tests/pipeline/test_sync.py",
            "--deselect=tests/pipeline/test_sync.py::test_changes_interrupted_at_random_end_as_a_fresh_store",
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
        tests=(
            "tests/pca/test_pca.py",
            "tests/pipeline/test_pipeline.py",
            "tests/test_api.py::test_project_gives_what_the_store_holds",
            "tests/commands/test_make.py::test_less_variance_without_csv_then_with_it",
        ),
        tuning=("GROUPS", "ROWS", "BLOCK_ROWS"),
    ),
}
