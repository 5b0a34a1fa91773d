"""Measures how fast pomona is, and tells it as JSON, as a table and as a chart.

    make bench                                  # all of it, an hour on two quiet cores
    python -m benchmarks --only speed pca       # some cases; the results of the others stay
    python -m benchmarks --table                # only the table and the chart, from the results

What is compared is measured in turn, round after round, so that a machine that drifts hurts all
alike; the table has medians of ratios within a round.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import results
from benchmarks.cases import CASES, case
from benchmarks.measuring import QUICK, MissingError, Setting, Sizes, describe, find_photos


def main() -> int:
    args = _parser().parse_args()
    sizes = QUICK if args.quick else Sizes()
    asked = {"images": args.images, "pairs": args.pairs}
    sizes = dataclasses.replace(sizes, **{name: n for name, n in asked.items() if n})
    left_out = [] if args.table else measure(args.only or list(CASES), sizes, args)
    found = results.load(args.results)
    print(results.table(found))
    if args.results == results.RESULTS:
        results.update_page(results.PAGE, found)
        results.draw_chart(results.CHART, found)
    else:
        results.draw_chart(args.results.with_suffix(".svg"), found)
    for reason in left_out:
        print(f"left out: {reason}", file=sys.stderr)
    # Who asked for a case by name wants it.
    return 1 if left_out and args.only else 0


def measure(names: list[str], sizes: Sizes, args: argparse.Namespace) -> list[str]:
    """Saves each case as soon as it is measured; returns which could not be, and why."""
    left_out = []
    with tempfile.TemporaryDirectory(prefix="pomona-bench-") as temporary:
        # Backbones of the user's own cache are no part of this.
        os.environ["POMONA_CACHE"] = str(Path(temporary, "cache"))
        photos, drawn = find_photos(Path(temporary), quick=args.quick)
        for name in names:
            start = time.perf_counter()
            folder = Path(temporary, name)
            folder.mkdir()
            setting = Setting(folder, photos, drawn, sizes)
            try:
                found = case(name)(setting)
            except MissingError as exc:
                left_out.append(f"{name}: {exc}")
                continue
            results.save(args.results, name, describe(setting), found)
            print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return left_out


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--images", type=int, help="of the case speed")
    parser.add_argument("--pairs", type=int, help="rounds")
    parser.add_argument("--quick", action="store_true", help="tiny: only to see that it works")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--results", type=Path, default=results.RESULTS, metavar="FILE.json")
    return parser


if __name__ == "__main__":
    sys.exit(main())
