"""The schemas, the spelling of names, and the reasons of error rows."""

from __future__ import annotations

import os

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pomona.store import schemas
from pomona.store.schemas import decode_path, encode_path

names = st.lists(
    st.one_of(
        st.binary(max_size=8),
        st.text(max_size=4).map(lambda text: text.encode("utf-8", "replace")),
        st.sampled_from([b"\\", b"\\\\", b"\\xe9", b"\\x", b"x41", b"\xe9", b"\xed\xa0\x80"]),
    ),
    max_size=6,
).map(lambda pieces: b"".join(pieces).replace(b"\0", b"").replace(b"/", b""))


@given(names)
@settings(deadline=None)
def test_every_name_is_found_again_from_its_spelling(name: bytes) -> None:
    assert os.fsencode(decode_path(encode_path(os.fsdecode(name)))) == name


@given(names)
@settings(deadline=None)
def test_every_spelling_is_utf8_and_without_nul_or_slash(name: bytes) -> None:
    spelling = encode_path(os.fsdecode(name))
    assert pa.array([spelling], pa.string()).to_pylist() == [spelling]
    assert not {"\0", "/"} & set(spelling)


@given(names, names)
@settings(deadline=None)
def test_different_names_have_different_spellings(one: bytes, other: bytes) -> None:
    same = encode_path(os.fsdecode(one)) == encode_path(os.fsdecode(other))
    assert same == (one == other)


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        (b"Apple Red 1", "Apple Red 1"),
        ("Crème brûlée 🍎".encode(), "Crème brûlée 🍎"),
        (b"caf\xe9", r"caf\xe9"),
        (rb"caf\xe9", r"caf\\xe9"),
        (b"a\\b", r"a\\b"),
        (b"two\nlines", "two\nlines"),
    ],
)
def test_usual_names_are_spelled_as_they_are_and_others_escaped(name: bytes, spelling: str) -> None:
    assert encode_path(os.fsdecode(name)) == spelling


@pytest.mark.parametrize("table", [schemas.features(7), schemas.pca(7)])
def test_numbers_are_fixed_size_lists_of_float32(table: pa.Schema) -> None:
    assert table.names[:3] == ["path", "label", "split"]
    assert table.field(-1).type == pa.list_(pa.float32(), 7)


def test_every_reason_says_what_a_person_can_do() -> None:
    for reason in schemas.REASONS.values():
        assert isinstance(reason.retryable, bool)
        assert reason.advice.endswith(".")
