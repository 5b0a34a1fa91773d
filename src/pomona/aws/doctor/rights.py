"""Checks of who may do what: roles and their policies are those of the template, no more."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from pomona.aws.doctor.finding import Finding, Scene, differing, guarded, judge
from pomona.aws.expected import Expected

_AS_TEMPLATE = "as in the template"


def check(scene: Scene) -> Iterator[Finding]:
    """Yields findings on policies, roles and the profile of nodes.

    Parameters
    ----------
    scene : Scene
        What to look at.
    """
    for policy in scene.of_type("AWS::IAM::ManagedPolicy"):
        yield from guarded(policy.name, functools.partial(_policy, scene, policy))
    for role in scene.of_type("AWS::IAM::Role"):
        yield from guarded(role.name, functools.partial(_role, scene, role))
    for profile in scene.of_type("AWS::IAM::InstanceProfile"):
        yield from guarded(profile.name, functools.partial(_profile, scene, profile))


def _policy(scene: Scene, policy: Expected) -> Iterator[Finding]:
    iam = functools.partial(scene.account.call, "iam", PolicyArn=policy.id)
    version = iam("get_policy")["Policy"]["DefaultVersionId"]
    found = iam("get_policy_version", VersionId=version)["PolicyVersion"]["Document"]
    said = differing(found, policy.properties["PolicyDocument"])
    yield judge(policy.name, "allows what pomona does", said == _AS_TEMPLATE, said)


def _role(scene: Scene, role: Expected) -> Iterator[Finding]:
    iam = functools.partial(scene.account.call, "iam", RoleName=role.id)
    pages = functools.partial(scene.account.pages, "iam", RoleName=role.id)
    trust = iam("get_role")["Role"]["AssumeRolePolicyDocument"]
    said = differing(trust, role.properties["AssumeRolePolicyDocument"])
    yield judge(role.name, "trusts only its service", said == _AS_TEMPLATE, said)
    attached = {
        each["PolicyArn"]
        for each in pages(operation="list_attached_role_policies", key="AttachedPolicies")
    }
    wanted = set(role.properties.get("ManagedPolicyArns", ()))
    more, less = sorted(attached - wanted), sorted(wanted - attached)
    evidence = [*(f"{arn} is not in the template" for arn in more), *(f"no {arn}" for arn in less)]
    yield judge(
        role.name, "has its policies", not evidence, "; ".join(evidence) or "those of the template"
    )
    own = {
        name: iam("get_role_policy", PolicyName=name)["PolicyDocument"]
        for name in pages(operation="list_role_policies", key="PolicyNames")
    }
    yield from _own_policies(role, own)


def _own_policies(role: Expected, own: dict[str, Any]) -> Iterator[Finding]:
    wanted = {
        each["PolicyName"]: each["PolicyDocument"] for each in role.properties.get("Policies", ())
    }
    for name in sorted(own.keys() | wanted.keys()):
        if name not in wanted:
            said = f"{name} is not in the template"
        else:
            said = differing(own.get(name, {}), wanted[name])
        yield judge(role.name, "allows what it must", said == _AS_TEMPLATE, f"{name}: {said}")


def _profile(scene: Scene, profile: Expected) -> Iterator[Finding]:
    found = scene.account.call("iam", "get_instance_profile", InstanceProfileName=profile.id)
    roles = [each["RoleName"] for each in found["InstanceProfile"]["Roles"]]
    yield judge(
        profile.name,
        "gives nodes their role",
        roles == profile.properties["Roles"],
        ", ".join(roles) or "no role",
    )
