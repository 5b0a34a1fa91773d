"""Errors: pomona's own in place of botocore's, one line each.

A server's words are not quoted, but for the action and the resource that a refusal names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import botocore.exceptions as boto

from pomona.errors import CloudError
from pomona.s3.errors import (
    CREDENTIALS_EXPIRED,
    DENIED_CODES,
    EXPIRED_CODES,
    NO_CREDENTIALS,
    NOT_ACCEPTED_CODES,
    SETTINGS,
)

_AGAIN = "then run the same command again"
_DENIED = (
    *DENIED_CODES,
    "AccessDeniedException",
    "UnauthorizedOperation",
    "AuthorizationError",
    "AuthorizationErrorException",
)
_EXPIRED = (*EXPIRED_CODES, "RequestExpired")
_NOT_ACCEPTED = (*NOT_ACCEPTED_CODES, "UnrecognizedClientException", "AuthFailure")
_THROTTLED = (
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
)
_NOT_AUTHORIZED = re.compile(r"not authorized to perform: ([\w-]+:\w+)(?: on resource: (\S+))?")


@contextmanager
def translate(service: str = "AWS", operation: str = "") -> Iterator[None]:
    """Raises pomona's errors in place of botocore's.

    Parameters
    ----------
    service : str
        The service that the block calls.
    operation : str
        The method of botocore's client that it calls.

    Raises
    ------
    CloudError
        Its `reason` is "denied", "expired", "credentials", "settings", "throttled", "request" or
        "unreachable"; else it is AWS's own code.
    """
    try:
        yield
    except boto.ClientError as exc:
        raise from_response(exc.response, service, operation) from None
    except CREDENTIALS_EXPIRED:
        raise CloudError(
            f"the credentials for AWS have expired: renew them (as `aws sso login` does), {_AGAIN}",
            "expired",
        ) from None
    except NO_CREDENTIALS:
        raise CloudError(
            "no credentials for AWS were found: set them as for AWS's own tools (AWS_PROFILE, "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role)",
            "credentials",
        ) from None
    except SETTINGS as exc:
        reason = " ".join(str(exc).split())
        raise CloudError(f"AWS's settings cannot be used: {reason}", "settings") from None
    except boto.ParamValidationError as exc:
        reason = " ".join(str(exc).split())
        raise CloudError(f"{service} takes no such request: {reason}", "request") from None
    except (boto.BotoCoreError, boto.HTTPClientError) as exc:
        raise CloudError(
            f"{service} cannot be reached ({type(exc).__name__}): check the network, {_AGAIN}",
            "unreachable",
        ) from None


def from_response(
    response: dict[str, dict[str, object]], service: str, operation: str
) -> CloudError:
    """Returns the error that a refusal of AWS stands for.

    Parameters
    ----------
    response : dict
        botocore's, with "Error" and "ResponseMetadata".
    service, operation : str
        What was called.
    """
    error = response.get("Error", {})
    code = str(error.get("Code", "")).rpartition("#")[2].removeprefix("Client.")
    if code in _EXPIRED:
        return CloudError(f"the credentials for AWS have expired: renew them, {_AGAIN}", "expired")
    if code in _NOT_ACCEPTED:
        return CloudError(
            f"{service} does not accept the credentials ({code}): check that they are complete, "
            "and that the region is switched on for the account",
            "credentials",
        )
    if code in _DENIED:
        return CloudError(_denied(str(error.get("Message", "")), service, operation), "denied")
    if code in _THROTTLED:
        return CloudError(
            f"{service} is asked too often in this account: wait a minute, {_AGAIN}", "throttled"
        )
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    called = "".join(word.title() for word in operation.split("_"))
    words = " ".join(str(error.get("Message", "")).split())[:300]
    return CloudError(f"{service} refused {called} ({code or status}): {words}", code or "refused")


def _denied(words: str, service: str, operation: str) -> str:
    """What right is missing, on what, and what would give it."""
    named = _NOT_AUTHORIZED.search(words)
    action = named[1] if named else f"{service}:{''.join(w.title() for w in operation.split('_'))}"
    resource = f" on {named[2]}" if named and named[2] else ""
    statement = _statement_for(action)
    by = f"; the statement {statement} of the stack gives it" if statement else ""
    return f"these credentials have no right to {action}{resource}: ask who gives rights for it{by}"


def _statement_for(action: str) -> str | None:
    """The statement of the template's policies for people that allows an action."""
    from pomona.aws.template import template

    for name in ("UserAccess", "DoctorAccess"):
        policy = template()["Resources"][name]["Properties"]["PolicyDocument"]
        for each in policy["Statement"]:
            allowed = each["Action"] if isinstance(each["Action"], list) else [each["Action"]]
            if action in allowed:
                return f"{each['Sid']} in {name}"
    return None
