"""How a job has ended: pomona's exit status and the reason, out of what its driver has printed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pomona.aws.job import STATUS

OUT_OF_MEMORY = (
    "an executor took more memory than its worker has and was ended: run the job again with "
    "more memory for each executor, or with a smaller `max_pixels`"
)
_STATUS = re.compile(rf"^{STATUS} (\d+)$", re.MULTILINE)
_COMPLAINT = re.compile(r"^pomona: (.+)$", re.MULTILINE)
# What YARN and EMR Serverless say of a container that was killed for its memory.
_KILLED = re.compile(
    r"exceeding (?:physical )?memory limits|[Ee]xit (?:status|code):? 137|OOMKilled"
)
_CAUSES = (
    (_KILLED, OUT_OF_MEMORY),
    (
        re.compile(r"Cannot run program \"[^\"]*environment/bin/python"),
        "the nodes have no Python where the environment expects it: build it for the Python of "
        "the release",
    ),
    (
        re.compile(r"No module named '?(\w+)"),
        "the environment lacks a package that the job imports: build it anew",
    ),
)


@dataclass(frozen=True)
class Outcome:
    """How a job has ended.

    Parameters
    ----------
    status : int, optional
        pomona's exit status; None: it did not come to an end by itself.
    reason : str, optional
        Why it failed, in one line; None: it did not, or nothing says why.
    """

    status: int | None
    reason: str | None


def read(stdout: str, stderr: str) -> Outcome:
    """Returns how a job has ended.

    Parameters
    ----------
    stdout, stderr : str
        What the driver has printed; of long logs, the end.
    """
    statuses = _STATUS.findall(stdout)
    status = int(statuses[-1]) if statuses else None
    if status == 0:
        return Outcome(0, None)
    complaints = _COMPLAINT.findall(stdout)
    causes = [words for sign, words in _CAUSES if sign.search(stderr)]
    if causes and (status is None or causes[0] == OUT_OF_MEMORY):
        return Outcome(status, causes[0])
    return Outcome(status, complaints[-1] if complaints else next(iter(causes), None))
