"""`pomona aws run` on moto's server with the patches of `serverless`: jobs do what a test says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from launched import IMAGES, Launched
from perimeter_template import REGION

from conftest import Here
from pomona.aws import archive, environment, jobs, launch, perimeter, prices, watch
from pomona.aws.conclusion import Conclusion
from pomona.aws.environment import Environment
from pomona.aws.launch import Asked
from pomona.aws.offer import Offer
from pomona.aws.target import Target
from pomona.errors import CloudError, SourceError, StoreError, UsageError
from pomona.pipeline.context import RunSettings
from pomona.pipeline.settings import ExtractSettings
from pomona.progress import Progress

pytest_plugins = ("aws_account", "launched_account")


class Told(Progress):
    """Keeps what it is told; at a line that contains `stop_at` comes a Ctrl-C."""

    def __init__(self, stop_at: str | None = None) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.stop_at = stop_at

    def begin(self, stage: str, total: int) -> None:
        super().begin(stage, total)
        self.note(f"{stage} 0/{total}")

    def advance(self, done: int, errors: int = 0) -> None:
        super().advance(done, errors)
        self.note(f"{self.stage} {self.done}/{self.total}")

    def note(self, message: str) -> None:
        self.lines.append(message)
        if self.stop_at and self.stop_at in message:
            raise KeyboardInterrupt

    def warn(self, message: str) -> None:
        self.lines.append(f"warning: {message}")

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class Command:
    """`pomona aws run` in this process, each time as if it were given anew."""

    def __init__(self, launched: Launched) -> None:
        self.launched, self.told = launched, Told()

    def __call__(
        self,
        confirm: Callable[[Offer], bool] = lambda offer: True,
        stop_at: str | None = None,
        **changed: Any,
    ) -> Conclusion | None:
        self.told, mine = Told(stop_at), self.launched
        given: dict[str, Any] = {
            "source": mine.source,
            "out": mine.out,
            "extracting": ExtractSettings(source=changed.get("source", mine.source)),
            "options": ("--components", "9"),
            "budget_usd": 0.5,
        }
        return launch.run(
            Asked(**{**given, **changed}),
            mine.account(),
            perimeter.read(mine.account(), computing=True),
            prices.packaged(REGION),
            RunSettings(Here(), self.told, access=mine.access),
            confirm,
        )


@pytest.fixture
def run(launched: Launched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command; its environment has no packages, and it waits for nothing."""
    monkeypatch.setattr(watch, "POLL_S", 0.0)
    monkeypatch.setattr(environment, "build", lambda target: no_packages(tmp_path, target))
    return Command(launched)


def no_packages(folder: Path, target: Target) -> Environment:
    """An environment that holds no package: what is uploaded here runs nowhere."""
    path = folder / f"{target.architecture}.tar.gz"
    with path.open("wb") as file:
        archive.write(file, [], target)
    return Environment(path, environment._digest(path), target)


def test_a_run_ends_with_the_store_and_its_cost(launched: Launched, run: Command) -> None:
    launched.lives()
    shown: list[Offer] = []
    ended = run(_take_into(shown))
    assert ended is not None
    assert (ended.images, ended.features, ended.errors) == (IMAGES, IMAGES, 0)
    assert (ended.components, ended.cost_basis, ended.attempts) == (9, "billed", 1)
    assert ended.cost_usd == pytest.approx(0.4 * 0.042094 + 0.8 * 0.004628)
    assert ended.estimate_usd == pytest.approx(shown[0].candidate.cost_usd, rel=0.001)
    assert "; estimated " in ended.in_words()
    assert launched.stored() == launched.objects
    text = shown[0].in_words()
    for said in (f"{IMAGES} images in {launched.source}, {IMAGES} to do", "EMR Serverless ARM"):
        assert said in text
    assert run.told.lines[1:] == [
        f"the job {ended.job} waits for its workers, which takes a minute or two",
        f"the job {ended.job} runs",
        "extract 0/40",
        "extract 20/40",
        "extract 40/40",
        "project 0/40",
        "project 40/40",
    ]


def test_a_job_cannot_cost_more_than_its_budget(launched: Launched, run: Command) -> None:
    launched.lives()
    shown: list[Offer] = []
    for number, budget in enumerate((0.05, 0.2, 3.0)):
        out = f"{launched.out}-{number}"
        assert run(_take_into(shown, agree=False), out=out, budget_usd=budget) is None
        fleet = shown[-1].candidate.fleet
        hour = fleet.vcpus * 0.042094 + fleet.memory_gb * 0.004628
        assert shown[-1].minutes >= 5
        assert shown[-1].minutes / 60 * hour <= budget
        assert fleet.vcpus <= 16
    assert not launched.serverless.jobs
    with pytest.raises(CloudError, match=r"AWS's least limit of a job, may cost .*raise `budget`"):
        run(_never, budget_usd=0.01)
    with pytest.raises(CloudError, match=r"at most 16 vCPUs: give `vcpus` as one of 4, 8, 16"):
        run(_never, vcpus=32)
    run(vcpus=4)
    [job] = launched.serverless.jobs
    assert (job.tags[jobs.VCPUS_TAG], job.tags[jobs.BUDGET_TAG]) == ("4", "0.5")


def test_the_same_command_finds_the_job_that_runs(launched: Launched, run: Command) -> None:
    launched.lives()
    with pytest.raises(KeyboardInterrupt):
        run(stop_at="extract 20/40")
    [job] = launched.serverless.jobs
    assert f"the job {job.id} goes on in AWS" in run.told.text
    assert f"`pomona aws cancel {job.id}`" in run.told.text
    with pytest.raises(CloudError, match=f"the job {job.id} is at work on .* with other options"):
        run(_never, options=("--components", "8"))
    ended = run(_never)
    assert ended is not None
    assert (ended.job, len(launched.serverless.jobs)) == (job.id, 1)
    assert run(_never) == ended, "what is done is not paid again"
    assert f"nothing to do: the job {job.id} has done it" in run.told.text


def test_a_job_that_failed_is_gone_on_with_within_the_same_budget(
    launched: Launched, run: Command
) -> None:
    launched.serverless.steps.extend([launched.runs, launched.fails])
    with pytest.raises(CloudError, match=r"failed after 2 min .*`pomona aws logs \w+` shows more"):
        run()
    launched.lives()
    shown: list[Offer] = []
    ended = run(_take_into(shown))
    assert ended is not None
    spent = 0.2 * 0.042094 + 0.4 * 0.004628
    assert shown[0].spent_usd == pytest.approx(spent)
    assert shown[0].work.to_do == IMAGES // 2
    assert ended.attempts == 2
    assert ended.attempts_usd == pytest.approx(3 * spent)
    assert launched.stored() == launched.objects


def test_a_job_over_its_budget_is_cancelled(launched: Launched, run: Command) -> None:
    launched.serverless.steps.append(
        lambda job: launched.serverless.set(job, "RUNNING", minutes=6000)
    )
    with pytest.raises(CloudError, match=r"was cancelled after .* the same command goes on"):
        run()
    [job] = launched.serverless.jobs
    assert job.state == "CANCELLED"
    assert "its budget leaves 0.50 USD: it is cancelled" in run.told.text


def test_wrong_places_and_sources_are_told_before_anything_is_submitted(
    launched: Launched, run: Command
) -> None:
    found = launched.perimeter
    with pytest.raises(UsageError, match=f"is not in s3://{found.images}, .*`pomona upload"):
        run(_never, source=f"s3://{found.results}/photos")
    for out in (f"s3://{found.results}/photos", f"s3://{found.images}/stores/out"):
        with pytest.raises(UsageError, match=f"give s3://{found.results}/stores/NAME"):
            run(_never, out=out)
    with pytest.raises(SourceError):
        run(_never, source=f"s3://{found.images}/nothing")
    launched.lives()
    run()
    other = ExtractSettings(source=launched.source, fit="crop")
    with pytest.raises(StoreError, match="was made by another recipe"):
        run(_never, extracting=other, options=("--fit", "crop"))
    assert len(launched.serverless.jobs) == 1


def _take_into(shown: list[Offer], *, agree: bool = True) -> Callable[[Offer], bool]:
    """Keeps the offer that is shown, and takes it or not."""

    def confirm(offer: Offer) -> bool:
        shown.append(offer)
        return agree

    return confirm


def _never(offer: object) -> bool:
    raise AssertionError("nothing is to be submitted")
