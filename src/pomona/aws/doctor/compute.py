"""Checks of what computes: the application's bounds, the nodes' encryption, and what runs now."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

from pomona.aws import europe
from pomona.aws.doctor.finding import (
    FAILURE,
    OK,
    WARNING,
    Finding,
    Scene,
    guarded,
    is_same,
    judge,
)
from pomona.aws.expected import Expected
from pomona.progress import count

_RUNNING = ("STARTING", "BOOTSTRAPPING", "RUNNING", "WAITING")
_ACTIVE = ("SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "QUEUED")
# Settings of the application that must be the template's, and what each is to the reader.
_SETTINGS = {
    "releaseLabel": "its release",
    "architecture": "its processors",
    "maximumCapacity": "bounded",
    "autoStopConfiguration": "stops when idle",
    "monitoringConfiguration": "logs stay in the bucket",
    "interactiveConfiguration": "accepts only jobs",
}


def check(scene: Scene) -> Iterator[Finding]:
    """Yields findings on the application, the nodes' encryption, clusters and quotas.

    Parameters
    ----------
    scene : Scene
        What to look at.
    """
    for application in scene.of_type("AWS::EMRServerless::Application"):
        yield from guarded(application.name, functools.partial(_application, scene, application))
        yield from guarded("quota", functools.partial(_quota, scene, application))
    for nodes in scene.of_type("AWS::EMR::SecurityConfiguration"):
        yield from guarded(nodes.name, functools.partial(_nodes, scene, nodes))
    yield from guarded("running", functools.partial(_running, scene))


def _application(scene: Scene, application: Expected) -> Iterator[Finding]:
    name, emr = application.name, functools.partial(scene.account.call, "emr-serverless")
    found = emr("get_application", applicationId=application.id)["application"]
    if found["state"] == "TERMINATED":
        yield judge(name, "exists", False, f"{application.id}: terminated")
        return
    partition, region = found["arn"].split(":")[1:4:2]
    refused = europe.refuse(europe.Resource("application", application.id, region, partition))
    yield judge(name, "in the EEA", refused is None, refused or region)
    for setting, what in _SETTINGS.items():
        wanted = _lower(application.properties[setting[0].upper() + setting[1:]])
        has = found.get(setting)
        yield judge(name, what, _holds(has, wanted), _in_words(has))
    ready = found.get("initialCapacity")
    yield judge(
        name,
        "costs nothing when idle",
        not ready,
        f"keeps workers ready: {_in_words(ready)}" if ready else "keeps no workers ready",
    )


def _holds(found: Any, wanted: Any) -> bool:
    """Whether a setting is the wanted one; what else it has must be switched off."""
    if not isinstance(wanted, dict):
        return is_same(found, wanted)
    has = found or {}
    more = [each for key, each in has.items() if key not in wanted]
    is_off = all(isinstance(each, dict) and each.get("enabled") is False for each in more)
    return is_off and all(_holds(has.get(key), each) for key, each in wanted.items())


def _quota(scene: Scene, application: Expected) -> Iterator[Finding]:
    quotas = scene.account.pages(
        "service-quotas", "list_service_quotas", "Quotas", ServiceCode="emr-serverless"
    )
    most = float(str(application.properties["MaximumCapacity"]["Cpu"]).split()[0])
    for each in quotas:
        if "vcpu" in each["QuotaName"].lower():
            yield judge(
                "quota",
                "enough for the application",
                each["Value"] >= most,
                f"{each['QuotaName']}: {each['Value']:g}; the application takes up to {most:g}",
                "ask for more in the console of Service Quotas, or `pomona aws up --max-vcpus`",
                otherwise=WARNING,
            )


def _nodes(scene: Scene, nodes: Expected) -> Iterator[Finding]:
    found = scene.account.call("emr", "describe_security_configuration", Name=nodes.id)
    said = json.loads(found["SecurityConfiguration"])
    wanted = nodes.properties["SecurityConfiguration"]
    differ = sorted(
        key
        for part in said.keys() | wanted.keys()
        for key in _differing(said.get(part, {}), wanted.get(part, {}))
    )
    yield judge(
        nodes.name,
        "encrypts disks and traffic",
        not differ,
        f"other than in the template: {', '.join(differ)}" if differ else "as in the template",
    )


def _differing(found: Any, wanted: Any) -> list[str]:
    return [
        key for key in found.keys() | wanted.keys() if not is_same(found.get(key), wanted.get(key))
    ]


def _running(scene: Scene) -> Iterator[Finding]:
    clusters = list(
        scene.account.pages("emr", "list_clusters", "Clusters", ClusterStates=list(_RUNNING))
    )
    for each in clusters:
        state = each["Status"]["State"]
        waits = state == "WAITING"
        yield Finding(
            "running",
            "no cluster waits for work",
            FAILURE if waits else WARNING,
            f"cluster {each['Id']} ({each['Name']}): {state.lower()}",
            f"if it should not: aws emr terminate-clusters --cluster-ids {each['Id']}",
        )
    if not clusters:
        yield Finding("running", "no cluster waits for work", OK, "no cluster runs")
    ours = {each.id for each in scene.of_type("AWS::EMRServerless::Application")}
    for each in scene.account.pages("emr-serverless", "list_applications", "applications"):
        if each["state"] != "TERMINATED" and each["id"] not in ours:
            yield Finding(
                "running",
                "no application beside the stack's",
                WARNING,
                f"application {each['id']} ({each.get('name', '')}): {each['state'].lower()}",
                "it is not pomona's: look whether somebody needs it",
            )
    for application in sorted(ours):
        jobs = list(
            scene.account.pages(
                "emr-serverless",
                "list_job_runs",
                "jobRuns",
                applicationId=application,
                states=list(_ACTIVE),
            )
        )
        names = ", ".join(each["id"] for each in jobs)
        said = f"{count(len(jobs), 'job')} at work: {names}" if jobs else "no job is at work"
        yield Finding("running", "jobs", OK, said)


def _lower(value: Any) -> Any:
    if isinstance(value, dict):
        return {key[0].lower() + key[1:]: _lower(each) for key, each in value.items()}
    return value


def _in_words(value: Any) -> str:
    """A setting as a line of evidence."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_in_words(each)}" for key, each in value.items())
    return "not set" if value is None else str(value)
