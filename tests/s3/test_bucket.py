"""Objects in buckets: every key, conditions, parts, errors of one line."""

from __future__ import annotations

import os
import pickle

import pytest

from pomona.errors import ObjectChangedError, ObjectStoreError
from pomona.s3 import bucket as objects
from pomona.s3.address import Address
from pomona.s3.bucket import Bucket, open_bucket
from pomona.s3.connection import connect
from s3_server import ACCESS_KEY, SECRET_KEY, Place, bucket, s3_server

__all__ = ["bucket", "s3_server"]

ODD = [
    *("a b.jpg", "a+b", "a#b", "a%b", "a%20b", "a~b", "a[b]", "é.jpg", "e\u0301.jpg", "😀"),
    *("a?b", "a*b", "a'b", 'a"b', "a&b=c", "a:b", "a\\b", "x y/ü/z.jpg", "a!b(c)$,;@", "tab\tx"),
]


@pytest.fixture(scope="module")
def opened(bucket: Place) -> Bucket:
    return open_bucket(Address.parse(bucket.at()))


def test_every_key_comes_through_unchanged(opened: Bucket) -> None:
    etags = {f"odd/{key}": opened.put(f"odd/{key}", key.encode()) for key in ODD}
    assert {found.key: found.etag for found in opened.list_all("odd/")} == etags
    for key in ODD:
        assert opened.get(f"odd/{key}", if_match=etags[f"odd/{key}"]).data == key.encode()
    opened.delete(*etags)
    assert list(opened.list_all("odd/")) == []


def test_signed_gets_and_botocore_read_the_same(
    opened: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.put("read/é +", bytes(range(256)) * 100)
    signed_get = connect(opened).signed_get
    asked: list[dict[str, int]] = [{}, {"start": 25_000}, {"last": 300}, {"last": 99_999}]
    fast = [opened.get("read/é +", **some) for some in asked]  # type: ignore[arg-type]
    monkeypatch.setattr(signed_get, "is_open", False)
    slow = [opened.get("read/é +", **some) for some in asked]  # type: ignore[arg-type]
    assert [len(got.data) for got in fast] == [25_600, 600, 300, 25_600]
    for quick, careful in zip(fast, slow, strict=True):
        assert (quick.data, quick.etag, quick.size_bytes, quick.modified) == (
            careful.data,
            careful.etag,
            25_600,
            careful.modified,
        )


def test_a_condition_that_does_not_hold_writes_nothing(opened: Bucket) -> None:
    first = opened.put("conditions/a", b"1", if_absent=True)
    with pytest.raises(ObjectChangedError):
        opened.put("conditions/a", b"2", if_absent=True)
    second = opened.put("conditions/a", b"3", if_match=first)
    for key in ("conditions/a", "conditions/none"):
        with pytest.raises(ObjectChangedError):
            opened.put(key, b"4", if_match=first)
    with pytest.raises(ObjectChangedError):
        opened.get("conditions/a", if_match=first)
    assert opened.get("conditions/a", if_match=second).data == b"3"
    assert [found.key for found in opened.list_all("conditions/")] == ["conditions/a"]


def test_a_large_object_goes_in_parts_and_leaves_none(
    opened: Bucket, bucket: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PART_BYTES", 5 * 2**20)
    data = os.urandom(11 * 2**20)
    opened.put("parts/large", data, if_absent=True)
    assert opened.get("parts/large").data == data
    with pytest.raises(ObjectChangedError):
        opened.put("parts/large", bytes(11 * 2**20), if_absent=True)
    assert opened.get("parts/large").data == data
    assert bucket.unfinished() == 0


def test_unfinished_uploads_are_removed(opened: Bucket, bucket: Place) -> None:
    client = bucket.server.client()
    for key in ("left/a", "left/b", "other/c"):
        client.create_multipart_upload(Bucket=bucket.name, Key=key)
    if bucket.server.folder:  # all of moto's uploads are of 2010
        assert opened.abort_uploads("left/", lambda key: True, older_than_s=3600) == 0
    assert opened.abort_uploads("left/", lambda key: key != "left/b") == 1
    assert opened.abort_uploads("left/", lambda key: True) == 1
    assert bucket.unfinished() == 1
    assert opened.abort_uploads("", lambda key: True) == 1


@pytest.mark.parametrize("folders", [1, 40])
def test_a_listing_finds_every_key(opened: Bucket, folders: int) -> None:
    keys = {f"many{folders}/{index % folders}/{index % 3}/{index}" for index in range(90)}
    keys.add(f"many{folders}/top")
    for key in keys:
        opened.put(key, b"")
    assert {found.key for found in opened.list_all(f"many{folders}/")} == keys
    names, top = opened.list_folder(f"many{folders}/")
    assert (len(names), [found.key for found in top]) == (folders, [f"many{folders}/top"])


def test_a_missing_key_raises_file_not_found(opened: Bucket) -> None:
    with pytest.raises(FileNotFoundError):
        opened.get("nothing")
    with pytest.raises(FileNotFoundError):
        opened.head("nothing")
    opened.delete("nothing")
    opened.put("large", bytes(100))
    with pytest.raises(ObjectStoreError, match="too large"):
        opened.get("large", limit=99)


def test_a_bucket_carries_no_credential(opened: Bucket) -> None:
    opened.put("used", b"")
    pickled = pickle.dumps(opened)
    assert ACCESS_KEY.encode() not in pickled
    assert SECRET_KEY.encode() not in pickled
    assert pickle.loads(pickled).get("used").data == b""  # noqa: S301
