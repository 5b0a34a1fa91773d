"""Checks of what watches: the trail, the budget and its alerts."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator

from pomona.aws import europe
from pomona.aws.doctor.finding import WARNING, Finding, Scene, differing, guarded, is_same, judge
from pomona.aws.expected import Expected

_BY_HAND = "set it as `perimeter.yaml` has it, in AWS's console"
_THRESHOLDS = (50.0, 80.0, 100.0)


def check(scene: Scene) -> Iterator[Finding]:
    """Yields findings on the trail, the topic and the budget.

    Parameters
    ----------
    scene : Scene
        What to look at.
    """
    gone = "delete the stack (`pomona aws down --with-data`) and create it again"
    for trail in scene.of_type("AWS::CloudTrail::Trail"):
        yield from guarded(trail.name, functools.partial(_trail, scene, trail), gone)
    for topic in scene.of_type("AWS::SNS::Topic"):
        yield from guarded(topic.name, functools.partial(_topic, scene, topic), gone)
    for budget in scene.of_type("AWS::Budgets::Budget"):
        yield from guarded(budget.name, functools.partial(_budget, scene, budget), gone)


def _trail(scene: Scene, trail: Expected) -> Iterator[Finding]:
    name, call = trail.name, functools.partial(scene.account.call, "cloudtrail")
    found = call("get_trail", Name=trail.id)["Trail"]
    status = call("get_trail_status", Name=trail.id)
    yield judge(
        name,
        "records",
        status["IsLogging"],
        "it records" if status["IsLogging"] else "it is stopped",
        f"aws cloudtrail start-logging --name {trail.id}",
    )
    partition, region = found["TrailARN"].split(":")[1:4:2]
    refused = europe.refuse(
        europe.Resource(
            "trail", trail.id, region, partition, every_region=found["IsMultiRegionTrail"]
        )
    )
    yield judge(name, "in one region of the EEA", refused is None, refused or region, _BY_HAND)
    settings = {
        "S3BucketName": found.get("S3BucketName"),
        "KMSKeyId": found.get("KmsKeyId"),
        "EnableLogFileValidation": found.get("LogFileValidationEnabled"),
    }
    off = [key for key, each in settings.items() if not is_same(each, trail.properties[key])]
    yield judge(
        name,
        "encrypted and signed",
        not off,
        f"other than in the template: {', '.join(off)}" if off else "with the key, into Audit",
        _BY_HAND,
    )
    selectors = call("get_event_selectors", TrailName=trail.id).get("AdvancedEventSelectors", [])
    wanted = trail.properties["AdvancedEventSelectors"]
    yield judge(
        name,
        "sees images and results",
        is_same(selectors, wanted),
        "each request for an object" if is_same(selectors, wanted) else "other events",
        _BY_HAND,
    )


def _topic(scene: Scene, topic: Expected) -> Iterator[Finding]:
    sns = functools.partial(scene.account.call, "sns", TopicArn=topic.id)
    found = sns("get_topic_attributes")["Attributes"]
    key = found.get("KmsMasterKeyId")
    yield judge(
        topic.name,
        "encrypted with the key",
        key == topic.properties["KmsMasterKeyId"],
        key or "it is not",
        _BY_HAND,
    )
    policies = scene.of_type("AWS::SNS::TopicPolicy")
    wanted = policies[0].properties["PolicyDocument"] if policies else {}
    said = differing(json.loads(found.get("Policy", "{}")), wanted)
    yield judge(topic.name, "its policy", said == "as in the template", said, _BY_HAND)
    readers = [
        each
        for each in scene.account.pages(
            "sns", "list_subscriptions_by_topic", "Subscriptions", TopicArn=topic.id
        )
        if each["Protocol"] == "email"
    ]
    pending = [each for each in readers if not each["SubscriptionArn"].startswith("arn:")]
    yield judge(
        topic.name,
        "somebody is told",
        bool(readers) and not pending,
        "nobody has confirmed the e-mail"
        if pending
        else ("an e-mail address, confirmed" if readers else "no address"),
        "open the e-mail of AWS Notifications and confirm it"
        if pending
        else "`pomona aws down --with-data`, then `pomona aws up --alert-email`",
        otherwise=WARNING,
    )


def _budget(scene: Scene, budget: Expected) -> Iterator[Finding]:
    named = {"AccountId": scene.account_id, "BudgetName": budget.id}
    found = scene.account.call("budgets", "describe_budget", **named)["Budget"]
    limit, wanted = found["BudgetLimit"], budget.properties["Budget"]["BudgetLimit"]
    yield judge(
        budget.name,
        "its limit",
        float(limit["Amount"]) == float(wanted["Amount"]) and limit["Unit"] == wanted["Unit"],
        f"{float(limit['Amount']):g} {limit['Unit']} a month",
        "`pomona aws up --monthly-budget`",
        otherwise=WARNING,
    )
    alerts = scene.account.pages(
        "budgets", "describe_notifications_for_budget", "Notifications", **named
    )
    at = sorted(each["Threshold"] for each in alerts if each["NotificationType"] == "ACTUAL")
    yield judge(
        budget.name,
        "alerts",
        set(_THRESHOLDS) <= set(at),
        f"at {', '.join(f'{each:g}' for each in at)} %" if at else "none",
        _BY_HAND,
    )
