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
    "Key": Piece("encrypts the buckets, the trail, the alerts and the disks", "about 1 $ a month"),
    "Images": Piece("bucket for images, which jobs read", STORAGE),
    "ImagesPolicy": Piece("TLS and the key alone"),
    "Results": Piece("bucket for stores and environments", STORAGE),
    "ResultsPolicy": Piece("TLS and the key alone"),
    "Logs": Piece("bucket for logs of jobs", STORAGE),
    "LogsPolicy": Piece("TLS and the key alone"),
    "Audit": Piece("bucket for the trail's files", STORAGE),
    "AuditPolicy": Piece("TLS alone, written by the trail"),
    "Trail": Piece("records who reads or writes which image or result"),
    "Alerts": Piece("passes on the budget's alerts"),
    "AlertsPolicy": Piece("the budget alone publishes"),
    "AlertsByMail": Piece("sends the alerts by e-mail"),
    "Budget": Piece("alerts at 50, 80 and 100 % of the month's budget"),
    "DataAccess": Piece("what jobs may do with buckets and key"),
    "UserAccess": Piece("lets people upload images, run jobs, fetch stores"),
    "DoctorAccess": Piece("lets people read what the doctor looks at"),
    "JobRole": Piece("what jobs on EMR Serverless run as"),
    "Application": Piece("runs jobs on EMR Serverless, up to its maximum"),
    "NodeRole": Piece("what the nodes of a cluster run as"),
    "NodeProfile": Piece("gives nodes their role"),
    "ServiceRole": Piece("what EMR makes clusters as"),
    "NodeEncryption": Piece("encrypts disks of nodes and all between them"),
}
