"""A perimeter with a few images, and jobs in it that do what the test says.

A job's work is a store that `pomona run` made of the same images, put where the job was told to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from moto_server import MotoServer
from perimeter_template import EMAIL, REGION
from serverless import Serverless

from conftest import Here
from pomona.aws import jobs, perimeter, requests
from pomona.aws.account import Account
from pomona.aws.perimeter import Perimeter
from pomona.aws.requests import Request
from pomona.pipeline import run as pipeline
from pomona.pipeline.context import RunSettings
from pomona.pipeline.settings import ExtractSettings, ReduceSettings
from pomona.s3.address import Access

IMAGES = 40


def make_perimeter(aws: MotoServer, **parameters: str) -> Perimeter:
    """Applies the template."""
    client = aws.client("cloudformation")
    named = {"StackName": "pomona", "ChangeSetName": "c1"}
    given = {"AlertEmail": EMAIL, **parameters}
    client.create_change_set(
        **named,
        ChangeSetType="CREATE",
        TemplateBody=perimeter.template(),
        Capabilities=["CAPABILITY_IAM"],
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()],
    )
    client.execute_change_set(**named)
    for _ in range(20):
        [stack] = client.describe_stacks(StackName="pomona")["Stacks"]
        if stack["StackStatus"] == "CREATE_COMPLETE":
            break
    return perimeter.read(Account(REGION), computing=True)


@dataclass
class Launched:
    """The account, and what lies in it; objects: the store that a job makes."""

    aws: MotoServer
    perimeter: Perimeter
    serverless: Serverless
    objects: dict[str, bytes]

    @property
    def source(self) -> str:
        return f"s3://{self.perimeter.images}/photos"

    @property
    def out(self) -> str:
        return f"s3://{self.perimeter.results}/stores/out"

    @property
    def access(self) -> Access:
        return Access(sse="aws:kms", kms_key=self.perimeter.key_arn)

    def account(self) -> Account:
        return Account(REGION)

    def submit(self, **changed: Any) -> Any:
        """Submits a job on the store, without `pomona aws run`; returns moto's own of it."""
        found = self.perimeter
        given: dict[str, Any] = {
            "application_id": found.application_id,
            "role_arn": found.job_role_arn,
            "out": self.out,
            "entry_point": f"s3://{found.results}/environments/job.py",
            "spark_parameters": "--conf spark.executor.cores=2",
            "arguments": (self.source, self.out),
            "logs": f"s3://{found.logs}/serverless/",
            "key_arn": found.key_arn,
            "vcpus": 8,
            "memory_gb": 16,
            "budget_usd": 0.5,
            "estimate_usd": 0.01,
            "timeout_minutes": 60,
        }
        request = Request(**{**given, **changed})
        account = self.account()
        earlier = jobs.find(account, request.application_id, out=request.out)
        requests.submit(account, request, earlier)
        return self.serverless.jobs[-1]

    def begin_again(self) -> None:
        """Forgets all jobs, and the store."""
        self.serverless.forget()
        client = self.aws.client("s3")
        for name in self.stored():
            client.delete_object(Bucket=self.perimeter.results, Key=f"stores/out/{name}")

    # Steps of a job

    def pends(self, job: Any) -> None:
        self.serverless.set(job, "PENDING")

    def runs(self, job: Any) -> None:
        """The first part is done."""
        self.serverless.set(job, "RUNNING", minutes=1)
        self._put(lambda name: "part-00001" not in name and not name.startswith(("pca/", "csv/")))

    def succeeds(self, job: Any) -> None:
        self._put(lambda name: True)
        self.serverless.set(job, "SUCCESS", minutes=3)
        self.serverless.bill(job, 0.4, 0.8)

    def fails(self, job: Any) -> None:
        self.runs(job)
        self.serverless.set(job, "FAILED", "Job execution failed. ExitCode: 1.", minutes=2)
        self.serverless.bill(job, 0.2, 0.4)

    def lives(self) -> None:
        """The next job lives as most do."""
        self.serverless.steps.clear()
        self.serverless.steps.extend([self.pends, self.runs, self.runs, self.succeeds])

    def _put(self, wanted: Callable[[str], bool]) -> None:
        client = self.aws.client("s3")
        for name, data in self.objects.items():
            if wanted(name):
                client.put_object(
                    Bucket=self.perimeter.results, Key=f"stores/out/{name}", Body=data
                )

    def stored(self) -> dict[str, bytes]:
        """What the store holds."""
        return objects_of(self.aws, self.perimeter.results, "stores/out/")

    def log(self, job: Any, name: str, data: bytes) -> None:
        """Puts a file of logs where EMR Serverless does."""
        key = f"serverless/applications/{job.application_id}/jobs/{job.id}/{name}"
        self.aws.client("s3").put_object(Bucket=self.perimeter.logs, Key=key, Body=data)


def objects_of(aws: MotoServer, bucket: str, prefix: str) -> dict[str, bytes]:
    client = aws.client("s3")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {
        each["Key"][len(prefix) :]: client.get_object(Bucket=bucket, Key=each["Key"])["Body"].read()
        for page in pages
        for each in page.get("Contents", [])
    }


def make_store(mine: Launched) -> None:
    """The store that a job makes."""
    settings = RunSettings(Here(), access=mine.access)
    extracting = ExtractSettings(source=mine.source)
    pipeline.run(mine.out, extracting, ReduceSettings(components=9), settings)
