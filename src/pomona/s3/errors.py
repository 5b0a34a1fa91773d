"""Errors: pomona's own in place of botocore's, one line each.

A server's words are not quoted: some repeat a part of what was signed, or an access key.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import botocore.exceptions as boto

from pomona.errors import ObjectChangedError, ObjectStoreError, UsageError

_AGAIN = "then run the same command again: what is done is kept"
_MISSING = ("NoSuchKey", "404", "NotFound", "NoSuchUpload")
_CHANGED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
EXPIRED_CODES = (
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "TokenRefreshRequired",
    "UnauthorizedException",
)
NOT_ACCEPTED_CODES = (
    "InvalidAccessKeyId",
    "InvalidToken",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "NotSignedUp",
    "XAdminUserNotFound",  # versitygw's
)
DENIED_CODES = ("AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden", "403", "401")
_ELSEWHERE = (
    "AuthorizationHeaderMalformed",
    "PermanentRedirect",
    "301",
    "IllegalLocationConstraintException",
    "IncorrectEndpoint",
)
CREDENTIALS_EXPIRED = (
    boto.SSOTokenLoadError,
    boto.UnauthorizedSSOTokenError,
    boto.TokenRetrievalError,
    boto.RefreshWithMFAUnsupportedError,
)
NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.MetadataRetrievalError,
    boto.InvalidConfigError,
)
SETTINGS = (
    boto.ProfileNotFound,
    boto.ConfigNotFound,
    boto.ConfigParseError,
    boto.UnknownEndpointError,
    boto.InvalidRegionError,
    boto.NoRegionError,
    boto.InvalidEndpointConfigurationError,
)


@contextmanager
def translate(bucket: str, endpoint: str, key: str | None = None) -> Iterator[None]:
    """Raises pomona's errors in place of botocore's.

    Parameters
    ----------
    bucket : str
        The bucket that the block uses.
    endpoint : str
        The server's URL.
    key : str, optional
        The key that the block's requests are about.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    ObjectChangedError
        If a condition does not hold.
    UsageError
        If S3 takes no such names.
    ObjectStoreError
        In all other cases.
    """
    try:
        yield
    except boto.ClientError as exc:
        raise from_response(exc.response, bucket, endpoint, key) from None
    except CREDENTIALS_EXPIRED:
        raise ObjectStoreError(
            f"the credentials for s3://{bucket} have expired: "
            f"renew them (as `aws sso login` does), {_AGAIN}",
            "expired",
        ) from None
    except NO_CREDENTIALS:
        raise ObjectStoreError(
            f"no credentials for s3://{bucket} were found: set them as for AWS's own tools "
            "(AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role)",
            "credentials",
        ) from None
    except SETTINGS as exc:
        reason = " ".join(str(exc).split())
        raise ObjectStoreError(f"AWS's settings cannot be used: {reason}", "settings") from None
    except boto.ParamValidationError:
        raise UsageError(
            f"s3://{bucket} is not an address that S3 takes: check the names of bucket and prefix"
        ) from None
    except (boto.BotoCoreError, boto.HTTPClientError, OSError) as exc:
        if isinstance(exc, FileNotFoundError):
            raise
        raise ObjectStoreError(
            f"{endpoint} cannot be reached for s3://{bucket} ({type(exc).__name__}): "
            f"check the network and the endpoint, {_AGAIN}",
            "unreachable",
        ) from None


def from_response(
    response: dict[str, dict[str, object]], bucket: str, endpoint: str, key: str | None
) -> Exception:
    """Returns the error that a server's refusal stands for.

    Parameters
    ----------
    response : dict
        botocore's, with "Error" and "ResponseMetadata".
    bucket : str
        The bucket that was asked for.
    endpoint : str
        The server's URL.
    key : str, optional
        The key that was asked for.
    """
    code = str(response.get("Error", {}).get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    what = f"s3://{bucket}" if key is None else f"s3://{bucket}/{key}"
    if code == "NoSuchBucket" or (code in _MISSING and key is None):
        return ObjectStoreError(
            f"there is no bucket s3://{bucket} at {endpoint}: check its name", "no_bucket"
        )
    if code in _MISSING:
        return FileNotFoundError(what)
    if code in _CHANGED:
        return ObjectChangedError(f"{what} was changed meanwhile: run the same command again")
    if code in EXPIRED_CODES:
        return ObjectStoreError(
            f"the credentials for s3://{bucket} have expired: renew them, {_AGAIN}", "expired"
        )
    if code in NOT_ACCEPTED_CODES:
        return ObjectStoreError(
            f"{endpoint} does not accept the credentials for s3://{bucket} ({code}): "
            "check that they belong to this server and are complete",
            "credentials",
        )
    if code in _ELSEWHERE:
        return ObjectStoreError(
            f"s3://{bucket} is in another region than the one asked for: "
            "set AWS_REGION to the bucket's region",
            "region",
        )
    if code == "InvalidObjectState":
        return ObjectStoreError(f"{what} is archived: restore it, {_AGAIN}", "archived")
    if code == "RequestTimeTooSkewed":
        return ObjectStoreError("this machine's clock is wrong: set it, then try again", "clock")
    if code in DENIED_CODES or status in (401, 403):
        return ObjectStoreError(
            f"no access to {what}: ask for permission to list, read and, for a store, write it",
            "denied",
        )
    return ObjectStoreError(
        f"{endpoint} answered {code or status} for {what}: wait a while, {_AGAIN}", "refused"
    )
