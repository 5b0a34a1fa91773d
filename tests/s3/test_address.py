"""Addresses, and how buckets are used: what is refused."""

from __future__ import annotations

import pytest

from pomona.errors import UsageError
from pomona.s3.address import Access, Address


@pytest.mark.parametrize("text", ["s3://", "s3:///key", "s3://a b/c", "s3://-/c"])
def test_what_names_no_bucket_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="does not name a bucket"):
        Address.parse(text)


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="`sse` DES"):
        Access(sse="DES")
    with pytest.raises(UsageError, match="`kms_key` goes with"):
        Access(sse="AES256", kms_key="a")
