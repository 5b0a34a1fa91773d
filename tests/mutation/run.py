"""Mutation tests: do the tests notice a fault in the modules that carry the promises?

    python tests/mutation/run.py [MODULE…] [--count N] [--seed S] [--workers W] [--out FOLDER]

Each mutant is tried in a copy of the tree, by the tests that `promises.py` names for its module.
FOLDER/mutants.md says how many were caught, and shows those that were not.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue

import psutil
from mutants import Mutant, diff, sample
from promises import PROMISES, Promise

ROOT = Path(__file__).parents[2]
PYTEST = ("-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-n", "0")
# A mutant hangs that takes so many times as long as the tests without one, and so much more.
SLOWER, SLACK_S = 3, 60
MARK = "POMONA_MUTANT"


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant; by: the test that failed, "time" for a hang, None: it survived."""

    module: str
    path: str
    line: int
    operator: str
    rank: str
    by: str | None
    seconds: float
    diff: str


class Tree:
    """A copy of the working tree in which mutants are tried, one after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tree"
        self._output = folder / "output"
        self._env = {
            **os.environ,
            MARK: uuid.uuid4().hex,
            "PYTHONPATH": str(self.folder / "src"),
            "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
            "PYTEST_DEBUG_TEMPROOT": str(folder),
        }
        self._clock = int(time.time())
        listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout
        for name in map(os.fsdecode, filter(None, names.split(b"\0"))):
            if (ROOT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.folder / name)
        self._forks = self._start_forks()

    def _start_forks(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, Path(__file__).with_name("forks.py")],
            cwd=self.folder,
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def test(self, promise: Promise, limit_s: float | None = None) -> tuple[str | None, float]:
        """Runs the tests: which one failed, if any ("time": none in time), and after how long."""
        args = [*PYTEST, *promise.tests]
        request = {"args": args, "output": str(self._output), "limit_s": limit_s}
        began = time.monotonic()
        reply = self._ask(json.dumps(request))
        if not reply:  # a mutant may end the process that it was forked from: once more
            self._forks = self._start_forks()
            reply = self._ask(json.dumps(request))
        status = json.loads(reply)
        seconds = time.monotonic() - began
        self._end_processes()
        if status is None:
            return "time", seconds
        told = self._output.read_text(errors="replace")
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", told, re.M) or [told[-2000:]]
        return str(failed[0]) if status else None, seconds

    def _ask(self, request: str) -> str:
        assert self._forks.stdin
        assert self._forks.stdout
        print(request, file=self._forks.stdin, flush=True)
        return self._forks.stdout.readline()

    @contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[str]:
        """Plants a mutant for a while; gives it as a diff."""
        path = self.folder / mutant.path
        code = path.read_text()
        mutated = mutant.mutate(code)
        assert mutated is not None
        try:
            self._write(path, mutated)
            yield diff(mutant, code, mutated)
        finally:
            self._write(path, code)

    def _write(self, path: Path, code: str) -> None:
        path.write_text(code)
        # Bytecode is known by its source's size and second: no two mutants have the same.
        self._clock += 1
        os.utime(path, (self._clock, self._clock))

    def close(self) -> None:
        """Ends all that it has started."""
        self._forks.communicate()

    def _end_processes(self) -> None:
        """Kills what the tests started and did not end."""
        for process in psutil.process_iter():
            try:
                is_ours = process.environ().get(MARK) == self._env[MARK]
                if is_ours and process.pid != self._forks.pid:
                    process.kill()
            except (psutil.Error, OSError):
                continue


def main(argv: Sequence[str] | None = None) -> None:
    """Tries a sample of each module's mutants and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(PROMISES))
    parser.add_argument("--count", type=int, default=40, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--resume", action="store_true", help="go on with the report in FOLDER")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "mutation")
    args = parser.parse_args(argv)
    modules = {name: PROMISES[name] for name in args.modules or PROMISES}
    args.out.mkdir(parents=True, exist_ok=True)
    before = read_report(args.out) if args.resume else []
    outcomes = {(outcome.module, outcome.rank): outcome for outcome in before}
    with tempfile.TemporaryDirectory(prefix="pomona-mutants-") as temporary:
        folders = [Path(temporary) / str(number) for number in range(args.workers)]
        with ExitStack() as stack:
            trees = [stack.enter_context(closing(Tree(folder))) for folder in folders]
            for name, promise in modules.items():
                mutants = sample(ROOT, promise.files, args.count, args.seed, promise.tuning)
                untried = [mutant for mutant in mutants if (name, mutant.rank) not in outcomes]
                for outcome in try_all(name, promise, untried, trees):
                    outcomes[name, outcome.rank] = outcome
                    told = outcome.by or "SURVIVED"
                    print(f"{name} {outcome.path}:{outcome.line} {told}", flush=True)
                    write_report(args.out, list(outcomes.values()))
    print(f"{args.out / 'mutants.md'}\n{score_table(list(outcomes.values()))}")


def try_all(
    name: str, promise: Promise, mutants: list[Mutant], trees: list[Tree]
) -> Iterator[Outcome]:
    """Tries the mutants of a module in the trees, side by side."""
    if not mutants:
        return
    failed, seconds = trees[0].test(promise)
    if failed:
        raise SystemExit(f"the tests of {name} fail without a mutant: {failed}")
    print(f"{name}: {len(mutants)} mutants, {seconds:.0f} s of tests", flush=True)
    free: SimpleQueue[Tree] = SimpleQueue()
    for tree in trees:
        free.put(tree)

    def attempt(mutant: Mutant) -> Outcome:
        tree = free.get()
        try:
            with tree.mutated(mutant) as shown:
                by, took_s = tree.test(promise, SLOWER * seconds + SLACK_S)
        finally:
            free.put(tree)
        place = (name, mutant.path, mutant.line, mutant.operator, mutant.rank)
        return Outcome(*place, by, round(took_s, 1), shown)

    with ThreadPoolExecutor(len(trees)) as threads:
        yield from threads.map(attempt, mutants)


def read_report(folder: Path) -> list[Outcome]:
    """The outcomes that `write_report` wrote; none where there are none yet."""
    path = folder / "mutants.json"
    return [Outcome(**data) for data in json.loads(path.read_text())] if path.exists() else []


def write_report(folder: Path, outcomes: list[Outcome]) -> None:
    """Writes mutants.json, and mutants.md with the scores and the survivors."""
    data = [asdict(outcome) for outcome in outcomes]
    (folder / "mutants.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    survivors = [
        f"## {outcome.module}: {outcome.path}:{outcome.line}\n\n"
        f"{outcome.operator}\n\n```diff\n{outcome.diff}\n```\n"
        for outcome in outcomes
        if outcome.by is None
    ]
    text = "\n".join(["# Mutants\n", score_table(outcomes), "", *survivors])
    (folder / "mutants.md").write_text(text)


def score_table(outcomes: list[Outcome]) -> str:
    """A Markdown table: of each module, how many mutants were caught."""
    rows = ["| module | mutants | caught | survived | score |", "|---|---|---|---|---|"]
    for name in [*dict.fromkeys(outcome.module for outcome in outcomes), "all"]:
        own = [outcome for outcome in outcomes if name in (outcome.module, "all")]
        caught = sum(outcome.by is not None for outcome in own)
        share = caught / len(own) if own else 0
        rows.append(f"| {name} | {len(own)} | {caught} | {len(own) - caught} | {share:.0%} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
