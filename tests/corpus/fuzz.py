"""Mutation fuzzing of the decoder: damaged images without end, each to be pixels or an ImageError.

    PYTHONPATH=tests python tests/corpus/fuzz.py --seconds 600 [--seed N] [--keep FOLDER]

Each image is decoded in a process beside this one, whose memory is watched. What crashes it, hangs,
or takes too much is kept in FOLDER under its name, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from damage import damaged
from drawn import encode, noise
from pomona.errors import ImageError
from pomona.images.decode import BYTES_PER_PIXEL
from pomona.images.reader import CarefulReader, Reader
from pomona.store import schemas

MAX_PIXELS = 4_000_000
TIMEOUT_S = 20.0
# Memory that does not depend on pixels: the text of a PNG, and the allocator's own.
ALLOWANCE_MB = 16.0


@dataclass
class Findings:
    """What became of the images: outcome → how many; faults: of which image, and what."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)
    peak_mb: float = 0.0

    @property
    def images(self) -> int:
        return self.outcomes.total()


def fuzz(images: Iterable[tuple[str, bytes]], keep: Path, timeout_s: float = TIMEOUT_S) -> Findings:
    """Decodes images (name, bytes); keeps those that are a fault of the decoder.

    peak_mb: the most that an image took beyond what the process had.
    """
    findings = Findings()
    child: psutil.Process | None = None
    with CarefulReader(Reader("/", timeout_s, MAX_PIXELS)) as reader:
        for name, data in images:
            if child is None or not child.is_running():  # at first, and after a crash
                reader.decode(encode(noise(9, 9), "TIFF", compression="tiff_lzw"))
                child = max(psutil.Process().children(), key=psutil.Process.create_time)
            before = _reset_peak_mb(child.pid)
            outcome = _outcome(reader, data)
            findings.outcomes[outcome] += 1
            fault = outcome if outcome not in ("pixels", *_EXPECTED) else None
            if child.is_running():
                taken = _peak_mb(child.pid) - before
                findings.peak_mb = max(findings.peak_mb, taken)
                if taken > BYTES_PER_PIXEL * MAX_PIXELS / 1e6 + ALLOWANCE_MB:
                    fault = f"{taken:.0f} MB"
            if fault:
                findings.faults[name] = fault
                kept = keep / name
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(data)
    return findings


_EXPECTED = set(schemas.REASONS) - {"crashed", "timed_out", "out_of_memory", "not_finite"}


def _outcome(reader: CarefulReader, data: bytes) -> str:
    try:
        pixels = reader.decode(data).pixels
    except ImageError as exc:
        return exc.reason if exc.detail.isprintable() or not exc.detail else f"said {exc.detail!r}"
    except Exception as exc:
        return f"raised {exc!r}"
    good = pixels.dtype == "uint8" and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size
    return "pixels" if good else f"{pixels.dtype}{pixels.shape}"


def _reset_peak_mb(pid: int) -> float:
    """Lets the kernel measure a process's peak anew; what it has now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _peak_mb(pid)


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def endless(seed: int, seconds: float) -> Iterator[tuple[str, bytes]]:
    """Damaged images until the time is over."""
    end = time.monotonic() + seconds
    for number in itertools.count():
        if time.monotonic() > end:
            return
        yield damaged(seed, number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    given = parser.parse_args()
    start = time.monotonic()
    findings = fuzz(endless(given.seed, given.seconds), given.keep / str(given.seed))
    per_second = findings.images / (time.monotonic() - start)
    print(f"seed {given.seed}: {findings.images:,} images, {per_second:,.0f} a second")
    print(", ".join(f"{count:,} {outcome}" for outcome, count in findings.outcomes.most_common()))
    print(f"at most {findings.peak_mb:.0f} MB for up to {MAX_PIXELS / 1e6:g} megapixels")
    for name, fault in findings.faults.items():
        print(f"{fault}: {given.keep / str(given.seed) / name}")
    sys.exit(bool(findings.faults))


if __name__ == "__main__":
    main()
