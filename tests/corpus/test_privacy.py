"""Privacy: no metadata of an image reaches what a run writes or prints."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pomona as api
from conftest import Pomona
from damage import cut, flip_bits, overwrite, shuffle_parts
from drawn import chunk, png
from secret_metadata import PIECES, secret_files


def quoted() -> bytes:
    """A PNG whose pixels are cut off where Pillow takes a piece of the text for a chunk's name."""
    pixels = zlib.compress(bytes(33 * 32), 0)[:-200]
    text = chunk(b"tEXt", b"k\0" + b"zq-q" * 20)
    reach = len(pixels) + 4 + 8 + 2 + 8
    begun = png(32, 32, 8, 0, b"").partition(b"\0\0\0\x08IDAT")[0]
    return begun + struct.pack(">I", reach) + b"IDAT" + pixels + bytes(4) + text


def traces(folder: Path) -> Iterator[str]:
    """The files under a folder that hold a piece of the secret, also packed or in base 64."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
            data += f"{table.schema.metadata} {table.select(texts).to_pydict()}".encode()
        for packed in re.findall(rb"base64,([A-Za-z0-9+/=]+)", data):
            data += base64.b64decode(packed)
        if any(piece in data for piece in PIECES):
            yield path.relative_to(folder).as_posix()


@pytest.fixture(scope="module")
def written(pomona: Pomona, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images (source), a store of them (out/store) and what was said of them."""
    folder, random = tmp_path_factory.mktemp("telling"), Random(0)  # noqa: S311
    for suffix, data in secret_files().items():
        (folder / "source" / suffix).mkdir(parents=True)
        (folder / "source" / suffix / f"good.{suffix}").write_bytes(data)
        for number in range(40):
            way = random.choice([cut, flip_bits, overwrite, shuffle_parts])
            path = folder / "source" / suffix / f"{way.__name__} {number}.{suffix}"
            path.write_bytes(way(data, random))
    (folder / "source" / "png" / "quoted.png").write_bytes(quoted())
    (folder / "out").mkdir()
    flags = ("--workers", "2", "--max-error-rate", "1", "--log-file", folder / "out" / "log")
    ended = pomona.done("run", folder / "source", folder / "out" / "store", *flags)
    (folder / "out" / "said").write_text(ended.stdout + ended.stderr)
    return folder


def test_every_image_holds_the_secret(written: Path) -> None:
    good = {path for path in traces(written / "source") if "/good." in path}
    assert good == {f"{suffix}/good.{suffix}" for suffix in secret_files()}


def test_nothing_of_the_secret_is_written(written: Path) -> None:
    store = api.open(written / "out" / "store")
    errors = store.errors().to_pylist()
    assert len(store.features()) + len(errors) == len(secret_files()) * 41 + 1
    assert not [row for row in errors if "/good." in row["path"]]
    [row] = [row for row in errors if "/quoted." in row["path"]]
    assert (row["reason"], row["detail"]) == ("corrupt", "broken PNG file (chunk …)")
    assert len({row["detail"] for row in errors}) > 10
    assert list(traces(written / "out")) == []


def test_paths_are_relative(written: Path) -> None:
    store = api.open(written / "out" / "store")
    texts = [store.errors().to_pylist(), store.metadata().to_pylist(), store.features().paths]
    assert str(written) not in str(texts)
