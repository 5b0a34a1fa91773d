"""Records of processing: what is held where, why, who may use it, and for how long.

https://eur-lex.europa.eu/eli/reg/2016/679/oj, Article 30, as far as the perimeter determines it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pomona.aws.doctor.finding import Scene

PLACES = {
    "eu-central-1": "Frankfurt, Germany",
    "eu-north-1": "Stockholm, Sweden",
    "eu-south-1": "Milan, Italy",
    "eu-south-2": "Aragon, Spain",
    "eu-west-1": "Dublin, Ireland",
    "eu-west-3": "Paris, France",
    "eusc-de-east-1": "Brandenburg, Germany (AWS European Sovereign Cloud)",
}
_JOBS = "jobs (JobRole, NodeRole)"
_PEOPLE = "people whom the account's own policies allow"


@dataclass(frozen=True)
class Record:
    """One kind of data.

    Parameters
    ----------
    what, where, why, who, how_long : str
        As the page's columns have them.
    """

    what: str
    where: str
    why: str
    who: str
    how_long: str


def records(scene: Scene) -> tuple[Record, ...]:
    """Returns what the perimeter holds.

    Parameters
    ----------
    scene : Scene
        The pieces of the stack.
    """
    return (*_in_buckets(scene), *_beside_buckets(scene.account.region))


def _in_buckets(scene: Scene) -> tuple[Record, ...]:
    bucket = {each.name: f"s3://{each.id}" for each in scene.of_type("AWS::S3::Bucket")}
    return (
        Record(
            "Images, without EXIF and other embedded metadata where `pomona upload` has sent them",
            bucket.get("Images", "-"),
            "to compute their embeddings",
            f"{_JOBS} read; {_PEOPLE}",
            "until you remove them",
        ),
        Record(
            "Stores: paths, labels, sizes, embeddings, principal components, thumbnails, reports; "
            "an embedding of a person's image is personal data",
            f"{bucket.get('Results', '-')}/stores/",
            "the results; to search, cluster and label images",
            f"{_JOBS} read, write and delete; {_PEOPLE}",
            "until you remove them (`pomona forget` removes an image from a store)",
        ),
        Record(
            "Logs of jobs: times, counts, errors; an error may name the path of an image",
            bucket.get("Logs", "-"),
            "to find out why a job failed",
            f"{_JOBS} write; {_PEOPLE}",
            _days(scene, "Logs"),
        ),
        Record(
            "The trail: which user or role read or wrote which object, when, from which address",
            bucket.get("Audit", "-"),
            "to prove who had access",
            f"CloudTrail writes; no role of pomona; {_PEOPLE}",
            _days(scene, "Audit"),
        ),
    )


def _beside_buckets(region: str) -> tuple[Record, ...]:
    return (
        Record(
            "Copies of images and results on the disks of workers, encrypted",
            f"EMR, {region}",
            "while they are computed",
            _JOBS,
            "until the job ends",
        ),
        Record(
            "The e-mail address for alerts",
            f"Amazon SNS, {region}",
            "to tell of the bill",
            f"the budget publishes; {_PEOPLE}",
            "until the stack is deleted",
        ),
        Record(
            "The account's bill: an amount, no images, no names",
            "AWS Budgets, a service without a region",
            "to send alerts",
            _PEOPLE,
            "until the stack is deleted",
        ),
    )


def _days(scene: Scene, bucket: str) -> str:
    """For how long a bucket keeps its objects, by its rules."""
    piece = scene.expected.get(bucket)
    rules = piece.properties["LifecycleConfiguration"]["Rules"] if piece else ()
    days = [str(each["ExpirationInDays"]) for each in rules if "ExpirationInDays" in each]
    return f"{days[0]} days, then S3 deletes them" if days else "until you remove them"
