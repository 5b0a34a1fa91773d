"""CloudFormation for the perimeter's template, as much as `up`, `doctor` and `down` ask of it.

An interpreter for tests: `template_resources.py` makes the resources. A stack goes on by `PACE`
resources whenever its state is asked for, so nothing here waits.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError
from perimeter_template import parse
from query_protocol import parsed, refusal, xml
from template_resources import ACCOUNT, TYPES, Made
from werkzeug.wrappers import Request, Response

from pomona.aws.template import conditions, evaluate, is_made

PACE = 12
NOON = "2026-11-28T12:00:00Z"
_UPDATABLE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
_UNCHANGED = (
    "The submitted information didn't contain changes. Submit different information to create a "
    "change set."
)


class Refused(Exception):  # noqa: N818 - what AWS does
    """A request that CloudFormation refuses: its code and words."""

    def __init__(self, words: str, code: str = "ValidationError") -> None:
        super().__init__(code, words)


@dataclass
class Plan:
    """A template with its parameters."""

    template: str
    parameters: dict[str, str]


@dataclass
class Stack:
    """A stack: made of `made`, and on its way through `left`."""

    name: str
    arn: str
    status: str = "REVIEW_IN_PROGRESS"
    reason: str = ""
    plan: Plan = field(default_factory=lambda: Plan("", {}))
    before: Plan | None = None
    made: dict[str, Made] = field(default_factory=dict)
    change_sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    left: list[tuple[str, str]] = field(default_factory=list)
    events: list[dict[str, str]] = field(default_factory=list)


class CloudFormation:
    """The stacks of one account and region.

    Attributes
    ----------
    failing : dict of str to str
        Resources by their logical names that cannot be made, and why.
    pace : int
        How many resources are made whenever a stack is asked for.
    """

    def __init__(self, client: Callable[[str], Any], region: str = "eu-west-1") -> None:
        self._client, self._region = client, region
        self.stacks: dict[str, Stack] = {}
        self.gone: dict[str, Stack] = {}
        self.failing: dict[str, str] = {}
        self.pace = PACE

    def answer(self, request: Request) -> Response:
        """Answers one request of the Query protocol."""
        given = parsed(request.form.to_dict())
        action = given.pop("Action")
        try:
            result = getattr(self, "_" + re.sub(r"(?<!^)(?=[A-Z])", "_", action).lower())(**given)
        except Refused as exc:
            return refusal(*exc.args)
        except Exception as exc:
            return refusal("InterpreterFailed", repr(exc))
        inner = f"<{action}Result>{xml(result)}</{action}Result>"
        return Response(f"<{action}Response>{inner}</{action}Response>", content_type="text/xml")

    # What is asked for

    def _create_change_set(
        self,
        *,
        StackName: str,  # noqa: N803 - CloudFormation's names, here and below
        ChangeSetName: str,  # noqa: N803
        TemplateBody: str,  # noqa: N803
        ChangeSetType: str = "UPDATE",  # noqa: N803
        Parameters: list[dict[str, str]] = [],  # noqa: N803, B006
        Capabilities: list[str] = [],  # noqa: N803, B006
        **_: Any,
    ) -> dict[str, Any]:
        if "CAPABILITY_IAM" not in Capabilities:
            raise Refused(
                "Requires capabilities : [CAPABILITY_IAM]", "InsufficientCapabilitiesException"
            )
        stack = self.stacks.get(StackName)
        if ChangeSetType == "CREATE":
            if stack is None:
                number = len(self.gone) + 1
                arn = self._arn("stack", f"{StackName}/{number:08d}-0000-4000-8000-000000000000")
                stack = self.stacks[StackName] = Stack(StackName, arn)
            elif stack.status != "REVIEW_IN_PROGRESS":
                raise Refused(
                    f"Stack [{StackName}] already exists and cannot be created again with the "
                    f"changeSet [{ChangeSetName}]."
                )
        elif stack is None:
            raise Refused(f"Stack [{StackName}] does not exist")
        elif stack.status not in _UPDATABLE:
            raise Refused(f"Stack:{stack.arn} is in {stack.status} state and can not be updated.")
        if ChangeSetName in stack.change_sets:
            raise Refused(f"ChangeSet {ChangeSetName} already exists", "AlreadyExistsException")
        plan = Plan(TemplateBody, self._parameters(TemplateBody, Parameters, stack.plan))
        changes = self._changes(stack, plan)
        stack.plans[ChangeSetName] = plan
        stack.change_sets[ChangeSetName] = {
            "ChangeSetName": ChangeSetName,
            "ChangeSetId": self._arn("changeSet", f"{ChangeSetName}/1"),
            "StackName": StackName,
            "StackId": stack.arn,
            "Status": "CREATE_COMPLETE" if changes else "FAILED",
            "StatusReason": "" if changes else _UNCHANGED,
            "ExecutionStatus": "AVAILABLE" if changes else "UNAVAILABLE",
            "Changes": changes,
        }
        return {"Id": self._arn("changeSet", f"{ChangeSetName}/1"), "StackId": stack.arn}

    def _describe_change_set(self, *, StackName: str, ChangeSetName: str, **_: Any) -> Any:  # noqa: N803
        return self._change_set(StackName, ChangeSetName)[1]

    def _delete_change_set(self, *, StackName: str, ChangeSetName: str, **_: Any) -> Any:  # noqa: N803
        stack = self._stack(StackName)
        stack.change_sets.pop(ChangeSetName, None)
        return {}

    def _execute_change_set(self, *, StackName: str, ChangeSetName: str, **_: Any) -> Any:  # noqa: N803
        stack, change_set = self._change_set(StackName, ChangeSetName)
        if change_set["ExecutionStatus"] != "AVAILABLE":
            raise Refused(
                f"ChangeSet [{ChangeSetName}] cannot be executed in its current status of "
                f"[{change_set['Status']}]",
                "InvalidChangeSetStatus",
            )
        stack.before = stack.plan if stack.status != "REVIEW_IN_PROGRESS" else None
        stack.plan = stack.plans[ChangeSetName]
        stack.left = [
            (each["ResourceChange"]["Action"], each["ResourceChange"]["LogicalResourceId"])
            for each in change_set["Changes"]
        ]
        stack.status = "CREATE_IN_PROGRESS" if stack.before is None else "UPDATE_IN_PROGRESS"
        stack.change_sets, stack.plans = {}, {}
        self._event(stack, stack.name, "AWS::CloudFormation::Stack", stack.status)
        return {}

    def _describe_stacks(self, *, StackName: str, **_: Any) -> Any:  # noqa: N803
        stack = self._stack(StackName, gone=True)
        self._go_on(stack)
        described = {
            "StackName": stack.name,
            "StackId": stack.arn,
            "StackStatus": stack.status,
            "StackStatusReason": stack.reason,
            "CreationTime": NOON,
            "Parameters": [
                {"ParameterKey": key, "ParameterValue": value}
                for key, value in stack.plan.parameters.items()
            ],
        }
        if stack.status.endswith("COMPLETE") and stack.made and "DELETE" not in stack.status:
            described["Outputs"] = [
                {"OutputKey": key, "OutputValue": value}
                for key, value in self._outputs(stack).items()
            ]
        return {"Stacks": [described]}

    def _describe_stack_resources(self, *, StackName: str, **_: Any) -> Any:  # noqa: N803
        stack = self._stack(StackName, gone=True)
        return {
            "StackResources": [
                {
                    "LogicalResourceId": name,
                    "PhysicalResourceId": made.id,
                    "ResourceType": made.type,
                    "ResourceStatus": "CREATE_COMPLETE",
                    "Timestamp": NOON,
                    "LastUpdatedTimestamp": NOON,
                }
                for name, made in stack.made.items()
            ]
        }

    def _list_stack_resources(self, *, StackName: str, **_: Any) -> Any:  # noqa: N803
        found = self._describe_stack_resources(StackName=StackName)
        return {"StackResourceSummaries": found["StackResources"]}

    def _list_stacks(self, **_: Any) -> Any:
        every = [*self.stacks.values(), *reversed(self.gone.values())]
        return {
            "StackSummaries": [
                {
                    "StackId": each.arn,
                    "StackName": each.name,
                    "StackStatus": each.status,
                    "CreationTime": NOON,
                }
                for each in every
            ]
        }

    def _describe_stack_events(self, *, StackName: str, **_: Any) -> Any:  # noqa: N803
        return {"StackEvents": self._stack(StackName, gone=True).events[::-1]}

    def _get_template(self, *, StackName: str, **_: Any) -> Any:  # noqa: N803
        return {"TemplateBody": self._stack(StackName).plan.template}

    def _delete_stack(self, *, StackName: str, **_: Any) -> Any:  # noqa: N803
        stack = self.stacks.get(StackName)
        if stack is not None and stack.status != "DELETE_IN_PROGRESS":
            stack.left = [("Remove", name) for name in reversed(stack.made)]
            stack.status = "DELETE_IN_PROGRESS"
            self._event(stack, stack.name, "AWS::CloudFormation::Stack", stack.status)
            self._go_on(stack, 0)
        return {}

    # What is done

    def _go_on(self, stack: Stack, most: int | None = None) -> None:
        """Makes the next resources, or rolls back."""
        if not stack.status.endswith("_IN_PROGRESS") or stack.status.startswith("REVIEW"):
            return
        for _ in range(self.pace if most is None else most):
            if not stack.left:
                break
            action, name = stack.left.pop(0)
            try:
                self._do(stack, action, name)
            except (ClientError, Refused) as exc:
                self._fail(stack, action, name, str(exc.args[-1]))
                return
        if not stack.left:
            self._end(stack)

    def _do(self, stack: Stack, action: str, name: str) -> None:
        if action == "Remove":
            made = stack.made[name]
            TYPES[made.type].remove(self._client, made)
            del stack.made[name]
            self._event(stack, name, made.type, "DELETE_COMPLETE", made.id)
            return
        kind, properties = self._properties(stack, name)
        if name in self.failing:
            raise Refused(self.failing[name])
        if name not in stack.made:
            stack.made[name] = TYPES[kind].make(self._client, f"{stack.name}-{name}", properties)
        made = stack.made[name]
        TYPES[kind].configure(self._client, made, properties)
        made.properties = properties
        self._event(stack, name, kind, f"{action.upper()}_COMPLETE", made.id)

    def _fail(self, stack: Stack, action: str, name: str, why: str) -> None:
        kind = parse(stack.plan.template)["Resources"].get(name, {}).get("Type", "")
        word = {"Add": "CREATE", "Modify": "UPDATE", "Remove": "DELETE"}[action]
        self._event(stack, name, kind, f"{word}_FAILED", "", why)
        if stack.status == "DELETE_IN_PROGRESS":
            stack.status, stack.left = "DELETE_FAILED", []
            stack.reason = f"The following resource(s) failed to delete: [{name}]. "
        elif stack.status == "ROLLBACK_IN_PROGRESS":
            stack.status, stack.left = "ROLLBACK_FAILED", []
        elif stack.before is None:
            stack.status = "ROLLBACK_IN_PROGRESS"
            stack.reason = f"The following resource(s) failed to create: [{name}]. "
            stack.left = [("Remove", each) for each in reversed(stack.made)]
        else:
            stack.plan = stack.before
            stack.status = "UPDATE_ROLLBACK_IN_PROGRESS"
            stack.reason = f"The following resource(s) failed to {word.lower()}: [{name}]. "
            stack.left = [
                (each["ResourceChange"]["Action"], each["ResourceChange"]["LogicalResourceId"])
                for each in self._changes(stack, stack.plan)
            ]

    def _end(self, stack: Stack) -> None:
        stack.status = stack.status.replace("_IN_PROGRESS", "_COMPLETE")
        if stack.status == "DELETE_COMPLETE":
            self.gone[stack.arn] = self.stacks.pop(stack.name)

    # What it all means

    def _changes(self, stack: Stack, plan: Plan) -> list[dict[str, Any]]:
        """From what is made to what a plan says; removals come last, as CloudFormation has them."""
        template = parse(plan.template)
        names = self._names(stack, plan)
        wanted = {
            name: each
            for name, each in template["Resources"].items()
            if is_made(each, template, names)
        }
        known = {f"{n}.{k}": v for n, m in stack.made.items() for k, v in m.attributes.items()}
        names |= {name: made.id for name, made in stack.made.items()}
        changes = []
        for name, each in wanted.items():
            if name not in stack.made:
                changes.append(("Add", name, each["Type"]))
                continue
            try:
                properties = evaluate(each.get("Properties", {}), names, known)
            except KeyError:
                properties = None  # names something that is not made yet
            if properties != stack.made[name].properties:
                changes.append(("Modify", name, each["Type"]))
        changes += [
            ("Remove", name, made.type)
            for name, made in reversed(stack.made.items())
            if name not in wanted
        ]
        return [
            {
                "Type": "Resource",
                "ResourceChange": {
                    "Action": action,
                    "LogicalResourceId": name,
                    "ResourceType": kind,
                    **({"Replacement": "False"} if action == "Modify" else {}),
                },
            }
            for action, name, kind in changes
        ]

    def _properties(self, stack: Stack, name: str) -> tuple[str, Any]:
        resource = parse(stack.plan.template)["Resources"][name]
        names = self._names(stack, stack.plan) | {n: made.id for n, made in stack.made.items()}
        known = {f"{n}.{k}": v for n, m in stack.made.items() for k, v in m.attributes.items()}
        return resource["Type"], evaluate(resource.get("Properties", {}), names, known)

    def _outputs(self, stack: Stack) -> dict[str, str]:
        template = parse(stack.plan.template)
        names = self._names(stack, stack.plan)
        known = {f"{n}.{k}": v for n, m in stack.made.items() for k, v in m.attributes.items()}
        every = names | {name: made.id for name, made in stack.made.items()}
        return {
            name: str(evaluate(each["Value"], every, known))
            for name, each in template["Outputs"].items()
            if is_made(each, template, names)
        }

    def _names(self, stack: Stack, plan: Plan) -> dict[str, Any]:
        names: dict[str, Any] = {
            "AWS::AccountId": ACCOUNT,
            "AWS::Partition": "aws",
            "AWS::Region": self._region,
            "AWS::StackName": stack.name,
            "AWS::URLSuffix": "amazonaws.com",
            **plan.parameters,
        }
        return names | conditions(parse(plan.template), names)

    def _parameters(
        self, template: str, given: list[dict[str, str]], before: Plan
    ) -> dict[str, str]:
        values = {}
        for name, each in parse(template)["Parameters"].items():
            values[name] = str(each["Default"]) if "Default" in each else None
        for each in given:
            name = each["ParameterKey"]
            if name not in values:
                raise Refused(f"Parameters: [{name}] do not exist in the template")
            if each.get("UsePreviousValue") == "true":
                values[name] = before.parameters[name]
            else:
                values[name] = each["ParameterValue"]
        missing = [name for name, value in values.items() if value is None]
        if missing:
            raise Refused(f"Parameters: {missing} must have values")
        return {name: value for name, value in values.items() if value is not None}

    def _stack(self, name: str, *, gone: bool = False) -> Stack:
        every = {**self.stacks, **{each.arn: each for each in self.stacks.values()}}
        found = {**every, **(self.gone if gone else {})}.get(name)
        if found is None:
            raise Refused(f"Stack with id {name} does not exist")
        return found

    def _change_set(self, stack_name: str, name: str) -> tuple[Stack, dict[str, Any]]:
        stack = self._stack(stack_name)
        if name not in stack.change_sets:
            raise Refused(f"ChangeSet [{name}] does not exist", "ChangeSetNotFound")
        return stack, stack.change_sets[name]

    def _event(
        self, stack: Stack, name: str, kind: str, status: str, physical: str = "", why: str = ""
    ) -> None:
        stack.events.append(
            {
                "StackId": stack.arn,
                "EventId": f"{name}-{len(stack.events)}",
                "StackName": stack.name,
                "LogicalResourceId": name,
                "PhysicalResourceId": physical,
                "ResourceType": kind,
                "ResourceStatus": status,
                "ResourceStatusReason": why,
                "Timestamp": NOON,
            }
        )

    def _arn(self, kind: str, rest: str) -> str:
        return f"arn:aws:cloudformation:{self._region}:{ACCOUNT}:{kind}/{rest}"
