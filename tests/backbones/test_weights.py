from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from pomona.backbones.weights import load_state_dict
from pomona.errors import BackboneError

PROTOCOL_2 = b"\x80\x02"
STOP = b"."


def name(module: str, qualified: str) -> bytes:
    return f"c{module}\n{qualified}\n".encode()


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def integer(value: int) -> bytes:
    return b"\x8a\x0b" + value.to_bytes(11, "little", signed=True)


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def a_pickle(body: bytes) -> bytes:
    return PROTOCOL_2 + body + STOP


EMPTY_ORDERED_DICT = name("collections", "OrderedDict") + b")R"
MODULE_VERSIONS = b"}" + text("_metadata") + b"}s"


def tensor(
    key: str,
    length: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int = 0,
    storage: str = "FloatStorage",
) -> bytes:
    """The pickle of a tensor: a view of the storage `key`."""
    kind = name("torch", storage)
    pid = tuple_of(text("storage"), kind, text(key), text("cpu"), integer(length), b"N")
    arguments = tuple_of(
        pid + b"Q",
        integer(offset),
        tuple_of(*map(integer, shape)),
        tuple_of(*map(integer, strides)),
        b"\x89",
        EMPTY_ORDERED_DICT,
    )
    return name("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def legacy_file(
    tensors: dict[str, bytes],
    storages: dict[str, np.ndarray],
    *,
    magic: int = 0x1950A86A20F9469CFC6C,
    protocol: int = 1001,
    little_endian: bool = True,
) -> bytes:
    """What torch.save wrote before 1.6, module versions included."""
    items = b"".join(text(key) + value for key, value in tensors.items())
    keys = b"](" + b"".join(text(key) for key in storages) + b"e"
    return b"".join(
        [
            a_pickle(integer(magic)),
            a_pickle(integer(protocol)),
            a_pickle(b"}" + text("little_endian") + (b"\x88" if little_endian else b"\x89") + b"s"),
            a_pickle(EMPTY_ORDERED_DICT + b"(" + items + b"u" + MODULE_VERSIONS + b"b"),
            a_pickle(keys),
            *(len(each).to_bytes(8, "little") + each.tobytes() for each in storages.values()),
        ]
    )


ELEMENTS = np.arange(24, dtype="<f4")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pth"


def test_tensors_keep_their_shape_strides_offset_and_dtype(path: Path) -> None:
    counts = np.array([7], dtype="<i8")
    content = legacy_file(
        {
            "plain": tensor("a", 24, (2, 3, 4), (12, 4, 1)),
            "transposed": tensor("a", 24, (4, 3, 2), (1, 4, 12)),
            "part": tensor("a", 24, (2, 2), (4, 1), offset=5),
            "empty": tensor("a", 24, (0, 3), (3, 1)),
            "count": tensor("b", 1, (), (), storage="LongStorage"),
        },
        {"a": ELEMENTS, "b": counts},
    )
    path.write_bytes(content)

    tensors = load_state_dict(path)

    cube = ELEMENTS.reshape(2, 3, 4)
    expected = {
        "plain": cube,
        "transposed": cube.transpose(),
        "part": cube[0, 1:, 1:3],
        "empty": np.empty((0, 3), np.float32),
        "count": np.array(7),
    }
    assert list(tensors) == list(expected)
    for key, array in expected.items():
        np.testing.assert_array_equal(tensors[key], array, strict=True)
        assert tensors[key].flags.c_contiguous


@pytest.mark.parametrize(
    "view",
    [
        tensor("a", 24, (25,), (1,)),
        tensor("a", 24, (2,), (24,)),
        tensor("a", 24, (1,), (1,), offset=24),
        tensor("a", 24, (), (), offset=24),
        tensor("a", 24, (2,), (2**62,)),
        tensor("a", 24, (2**40,), (0,)),
        tensor("a", 24, (2,), (-1,), offset=4),
        tensor("a", 24, (2,), (1,), offset=-4),
        tensor("a", 24, (-2,), (1,)),
        tensor("a", 24, (2, 2), (1,)),
        tensor("a", 2**40, (24,), (1,)),
        tensor("a", -1, (24,), (1,)),
        tensor("b", 24, (24,), (1,)),
    ],
)
def test_no_tensor_reaches_outside_its_storage(path: Path, view: bytes) -> None:
    path.write_bytes(legacy_file({"w": view}, {"a": ELEMENTS}))
    with pytest.raises(BackboneError, match="not a complete PyTorch weights file"):
        load_state_dict(path)


def test_a_storage_larger_than_the_file_is_refused(path: Path) -> None:
    content = legacy_file({"w": tensor("a", 2**40, (24,), (1,))}, {"a": ELEMENTS})
    length = (24).to_bytes(8, "little")
    path.write_bytes(content.replace(length, (2**40).to_bytes(8, "little")))
    with pytest.raises(BackboneError, match="cut short"):
        load_state_dict(path)


@pytest.mark.parametrize(
    ("module", "qualified"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("__builtin__", "eval"),
        ("collections", "defaultdict"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_qtensor"),
    ],
)
def test_a_pickle_can_name_nothing_but_tensors(path: Path, module: str, qualified: str) -> None:
    witness = path.with_name("witness")
    call = name(module, qualified) + tuple_of(text(f"touch {witness}")) + b"R"
    path.write_bytes(legacy_file({"w": call}, {}))
    with pytest.raises(BackboneError, match=f"asks for {module}.{qualified}"):
        load_state_dict(path)
    path.write_bytes(a_pickle(call))
    with pytest.raises(BackboneError, match=f"asks for {module}.{qualified}"):
        load_state_dict(path)
    assert not witness.exists()


NOT_EVEN_A_DICTIONARY = legacy_file({}, {}).replace(
    EMPTY_ORDERED_DICT + b"(u" + MODULE_VERSIONS + b"b", b"]"
)


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"", "Ran out of input"),
        (b"PK\x03\x04 the newer format is a zip file", "in the legacy format"),
        (legacy_file({}, {}, magic=1), "wrong magic number"),
        (legacy_file({}, {}, protocol=1002), "unknown protocol version"),
        (legacy_file({}, {}, little_endian=False), "not little-endian"),
        (legacy_file({"w": integer(1)}, {}), "a value is not a tensor"),
        (NOT_EVEN_A_DICTIONARY, "not a dictionary of tensors"),
    ],
    ids=["empty", "zip", "magic", "protocol", "endian", "value", "list"],
)
def test_another_format_is_refused_in_one_line(path: Path, content: bytes, detail: str) -> None:
    path.write_bytes(content)
    with pytest.raises(BackboneError) as caught:
        load_state_dict(path)
    message = str(caught.value)
    assert str(path) in message
    assert detail in message
    assert "\n" not in message


def test_a_storage_has_one_of_the_known_types(path: Path) -> None:
    content = legacy_file({"w": tensor("a", 24, (24,), (1,))}, {"a": ELEMENTS})
    path.write_bytes(content.replace(name("torch", "FloatStorage"), text("O")))
    with pytest.raises(BackboneError, match="unknown kind of storage"):
        load_state_dict(path)


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(BackboneError, match=f"cannot read the weights {path}: No such file"):
        load_state_dict(path)


WHOLE = legacy_file(
    {"a": tensor("a", 24, (4, 6), (1, 4)), "b": tensor("b", 24, (24,), (1,))},
    {"a": ELEMENTS, "b": ELEMENTS},
)


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    for length in range(len(WHOLE)):
        path.write_bytes(WHOLE[:length])
        with pytest.raises(BackboneError):
            load_state_dict(path)


def test_a_changed_byte_is_refused_or_changes_values_only(path: Path) -> None:
    generator = random.Random(0)  # noqa: S311
    for position in range(len(WHOLE)):
        # LONG_BINPUT ("r") may grow the unpickler's memo by gigabytes.
        value = generator.choice([each for each in range(256) if each != ord("r")])
        path.write_bytes(WHOLE[:position] + bytes([value]) + WHOLE[position + 1 :])
        try:
            tensors = load_state_dict(path)
        except BackboneError:
            continue
        assert all(each.size <= 24 for each in tensors.values())
