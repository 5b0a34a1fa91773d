"""DICOM: the first frame of a file, as its own tags say that it is shown.

Nothing but pixels leaves this module: its errors quote no tag, for a tag may name a patient.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image, ImageFile
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian

_STRIP_VALUES = 2**18
_INFLATE_BYTES, _MOST_INFLATED = 2**20, 256 * 2**20
_GREY = ("MONOCHROME1", "MONOCHROME2")
_PALETTE = "PALETTE COLOR"


class DicomImageFile(ImageFile.ImageFile):
    """Pillow's view of a DICOM file: of mode L or RGB."""

    format = "DICOM"
    format_description = "Digital Imaging and Communications in Medicine"

    _dataset: Any = None

    def _open(self) -> None:
        file: Any = self.fp
        if file.read(132)[128:] != b"DICM":
            raise SyntaxError("not DICOM")
        file.seek(0)
        try:
            with _silence():
                _refuse_endless(file)
                self._dataset = pydicom.dcmread(file)
                self._size = int(self._dataset.Columns), int(self._dataset.Rows)
                self._kind = str(self._dataset.PhotometricInterpretation)
        except AttributeError:
            raise OSError("DICOM without pixels is unsupported") from None
        except Exception:
            raise OSError("its DICOM tags cannot be read") from None
        self._mode = "L" if self._kind in _GREY else "RGB"
        self.tile = []

    def load(self) -> Any:
        """Decodes the first frame, once."""
        if dataset := self._dataset:
            self._dataset = None
            try:
                with _silence():
                    shown = _show(dataset, self._kind)
                if (shown.ndim == 2) != (self._mode == "L"):
                    raise ValueError(shown.shape)
            except NotImplementedError:
                raise OSError("unsupported compression in DICOM") from None
            except MemoryError:
                raise
            except Exception:
                raise OSError("its DICOM pixels cannot be read") from None
            self._im = Image.fromarray(shown).im
        return self._im.pixel_access(self.readonly) if self._im is not None else None


def _refuse_endless(file: Any) -> None:
    """Raises OSError for a deflated data set of too many bytes: pydicom inflates all of it."""
    read_preamble(file, force=False)
    syntax = _read_file_meta_info(file).get("TransferSyntaxUID")
    if syntax == DeflatedExplicitVRLittleEndian:
        inflate, waiting, total = zlib.decompressobj(-zlib.MAX_WBITS), file.read(), 0
        while waiting and not inflate.eof:
            total += len(inflate.decompress(waiting, _INFLATE_BYTES))
            waiting = inflate.unconsumed_tail
            if total > _MOST_INFLATED:
                raise OSError
    file.seek(0)


@contextmanager
def _silence() -> Iterator[None]:
    """Lets pydicom say nothing: its warnings quote values."""
    logger = logging.getLogger("pydicom")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _show(dataset: Any, kind: str) -> npt.NDArray[np.uint8]:
    """The first frame as uint8[h, w] or uint8[h, w, 3]."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not get_decoder(syntax).is_available:
        raise NotImplementedError(syntax)
    stored = pixel_array(dataset, index=0)
    if kind == _PALETTE:
        stored = apply_color_lut(stored, dataset)
    if kind not in _GREY:
        return (stored >> 8 * (stored.dtype.itemsize - 1)).astype(np.uint8)
    return _window(stored, dataset, is_inverted=kind == "MONOCHROME1")


def _window(stored: npt.NDArray[Any], dataset: Any, *, is_inverted: bool) -> npt.NDArray[np.uint8]:
    """Grey by the window of the tags (DICOM PS3.3, C.11.2); without one, by the frame's range."""
    if "ModalityLUTSequence" in dataset:
        stored = apply_modality_lut(stored, dataset)
    slope = float(_tag(dataset, "PixelValueTransformationSequence", "RescaleSlope") or 1)
    intercept = float(_tag(dataset, "PixelValueTransformationSequence", "RescaleIntercept") or 0)
    centre = _tag(dataset, "FrameVOILUTSequence", "WindowCenter")
    width = _tag(dataset, "FrameVOILUTSequence", "WindowWidth")
    function = str(_tag(dataset, "FrameVOILUTSequence", "VOILUTFunction") or "LINEAR")
    if centre is None or width is None:
        function = "LINEAR_EXACT"
        if "VOILUTSequence" in dataset:
            stored = apply_voi(stored, dataset)
            slope, intercept = 1.0, 0.0
            least, most = 0.0, 2.0 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1
        elif stored.dtype == np.uint8:
            white = 2 ** int(dataset.BitsStored) - 1
            least, most = sorted((intercept, white * slope + intercept))
        else:
            padding = getattr(dataset, "PixelPaddingValue", None)
            meant = stored if padding is None else stored[stored != padding]
            ends = [float(end) * slope + intercept for end in (meant.min(), meant.max())]
            least, most = min(ends), max(ends)
        centre, width = (least + most) / 2, max(most - least, 1.0)
    if function == "LINEAR":
        centre, width = float(centre) - 0.5, max(float(width) - 1, 1.0)
    shown = np.empty(stored.shape, np.uint8)
    rows = max(1, _STRIP_VALUES // stored.shape[1])
    for top in range(0, len(stored), rows):
        steps = (stored[top : top + rows] * slope + intercept - float(centre)) / float(width)
        share = 1 / (1 + np.exp(-4 * steps)) if function == "SIGMOID" else steps + 0.5
        share = 1 - share if is_inverted else share
        shown[top : top + rows] = np.clip(255 * share + 0.5, 0, 255)
    return shown


def _tag(dataset: Any, group: str, name: str) -> Any:
    """The first value of a tag; files of many frames have it in a group of the first, or of all."""
    places = [dataset]
    for frames in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        places += [found[0] for place in getattr(dataset, frames, [])[:1]
                   if (found := getattr(place, group, None))]  # fmt: skip
    for place in places:
        value = getattr(place, name, None)
        if value is not None:
            return value[0] if isinstance(value, (list, pydicom.multival.MultiValue)) else value
    return None


def register() -> None:
    """Lets Pillow open DICOM files."""
    Image.register_open(DicomImageFile.format, DicomImageFile)
