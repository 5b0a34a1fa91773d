"""The pieces of the perimeter: what each is for, and what it costs while nothing runs."""

from __future__ import annotations

from dataclasses import dataclass

STORAGE = "storage"
NOTHING = "nothing"


@dataclass(frozen=True)
class Piece:
    """A resource of the template, by its name there.

    Parameters
    ----------
    purpose : str
        What it is for.
    idle : str
        What it costs while nothing runs: approximate, not from AWS's price list.
    """

    purpose: str
    idle: str = NOTHING


PIECES = {
    "Key": Piece(
        "encrypts the buckets, the trail, the alerts and the disks", "about 1 USD a month"
    ),
    "Images": Piece("bucket for images, which jobs read", STORAGE),
    "ImagesPolicy": Piece("accepts only TLS and this key"),
    "Results": Piece("bucket for stores and environments", STORAGE),
    "ResultsPolicy": Piece("accepts only TLS and this key"),
    "Logs": Piece("bucket for logs of jobs", STORAGE),
    "LogsPolicy": Piece("accepts only TLS and this key"),
    "Audit": Piece("bucket for the trail's files", STORAGE),
    "AuditPolicy": Piece("accepts only TLS, and files that the trail writes"),
    "Trail": Piece("records who reads or writes which image or result"),
    "Alerts": Piece("forwards the budget's alerts"),
    "AlertsPolicy": Piece("only the budget may publish alerts"),
    "AlertsByMail": Piece("sends the alerts by e-mail"),
    "Budget": Piece("alerts at 50, 80 and 100 % of the monthly budget"),
    "DataAccess": Piece("what jobs may do with the buckets and the key"),
    "UserAccess": Piece("lets people upload images, run jobs, fetch stores"),
    "DoctorAccess": Piece("lets people read what `pomona aws doctor` checks"),
    "JobRole": Piece("role that jobs on EMR Serverless run under"),
    "Application": Piece("runs jobs on EMR Serverless, up to its maximum"),
    "NodeRole": Piece("role that the nodes of a cluster run under"),
    "NodeProfile": Piece("passes the nodes their role"),
    "ServiceRole": Piece("role under which EMR creates clusters"),
    "NodeEncryption": Piece("encrypts the nodes' disks and the traffic between them"),
}
