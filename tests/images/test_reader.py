"""Readers: in a subprocess, a crash or a hang is the error of one image."""

from __future__ import annotations

import ctypes
import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

import pomona.images.reader as reader_module
from drawn import encode, noise
from pomona.errors import ImageError
from pomona.images.decode import decode
from pomona.images.reader import CarefulReader, Reader


def photograph() -> bytes:
    buffer = io.BytesIO()
    Image.effect_mandelbrot((40, 30), (-2, -1, 1, 1), 60).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "photo.png").write_bytes(photograph())
    return tmp_path


class Endless(Reader):
    """Reads from a disk that never answers for one of its files."""

    def fetch(self, path: str, fingerprint: str | None = None) -> bytes:
        if path != "endless":
            return super().fetch(path, fingerprint)
        with self._limit:
            ctypes.PyDLL(None).sleep(3600)
        return b""


@pytest.fixture
def careful(source: Path) -> Iterator[CarefulReader]:
    with CarefulReader(Endless(str(source), timeout_s=1.0)) as opened:
        yield opened


def test_the_careful_reader_reads_the_same(careful: CarefulReader) -> None:
    data = careful.fetch("photo.png")
    assert data == photograph()
    decoded = careful.decode(data)
    assert decoded.format == "PNG"
    np.testing.assert_array_equal(decoded.pixels, decode(data).pixels)


def test_the_careful_reader_raises_the_same_errors(careful: CarefulReader) -> None:
    with pytest.raises(ImageError, match="not_found"):
        careful.fetch("other.png")
    with pytest.raises(ImageError, match="truncated"):
        careful.decode(photograph()[:-30])


def test_an_image_that_hangs_times_out_and_the_next_one_is_read(
    careful: CarefulReader,
) -> None:
    with pytest.raises(ImageError) as caught:
        careful.fetch("endless")
    assert (caught.value.stage, caught.value.reason) == ("fetch", "timed_out")
    assert careful.fetch("photo.png") == photograph()


def test_the_signal_of_a_crash_is_its_detail(
    careful: CarefulReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "_read", crash)
    with CarefulReader(Reader("")) as crashing, pytest.raises(ImageError) as caught:
        crashing.decode(b"anything")
    assert (caught.value.stage, caught.value.reason) == ("decode", "crashed")
    assert caught.value.detail == "killed by signal 11 (Segmentation fault)"


def test_the_output_of_a_codec_is_the_detail_and_not_printed(
    careful: CarefulReader, capfd: pytest.CaptureFixture[str]
) -> None:
    damaged = bytearray(encode(noise(40, 60), "TIFF", compression="tiff_deflate"))
    damaged[200:300] = bytes(100)
    with Reader("/") as plain:
        for reader in (plain, careful):
            for _ in range(2):  # the output about one image is not in the error of the next
                with pytest.raises(ImageError) as caught:
                    reader.decode(bytes(damaged))
                assert "ZIPDecode: Decoding error" in caught.value.detail
                with pytest.raises(ImageError) as caught:
                    reader.decode(photograph()[:-30])
                assert "ZIP" not in caught.value.detail
        os.write(2, b"own words\n")
    assert capfd.readouterr().err == "own words\n"


def test_the_output_before_a_crash_is_in_the_detail(
    careful: CarefulReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "_read", crash_with_words)
    with CarefulReader(Reader("")) as crashing, pytest.raises(ImageError) as caught:
        crashing.decode(b"anything")
    assert caught.value.detail == "killed by signal 6 (Aborted): double free or corruption"


def crash_with_words(item: object, reader: object, attempt: int) -> None:
    os.write(2, b"double free or corruption\n")
    os.abort()


def crash(item: object, reader: object, attempt: int) -> None:
    ctypes.string_at(0)


def test_the_careful_reader_leaves_no_process_behind(source: Path) -> None:
    before = set(psutil.Process().children())
    with CarefulReader(Reader(str(source))) as careful:
        careful.fetch("photo.png")
        assert set(psutil.Process().children()) - before
    assert not set(psutil.Process().children()) - before


def test_the_plain_reader_leaves_no_alarm_behind(source: Path) -> None:
    with Reader(str(source), timeout_s=30.0) as reader:
        reader.decode(reader.fetch("photo.png"))
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        with pytest.raises(ImageError):
            reader.fetch("other.png")
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
