"""Codecs that Pillow does not bring, or not everywhere: set up in a process on first use."""

from __future__ import annotations

from PIL import AvifImagePlugin, features


def set_up_avif() -> str | None:
    """Makes Pillow decode AVIF on one thread, since images are decoded side by side.

    Returns
    -------
    str or None
        What is missing, and the way out.
    """
    if not features.check("avif"):
        return "AVIF: this Pillow was built without it; install a wheel of Pillow"
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    return None


def set_up_heif() -> str | None:
    """Makes Pillow decode HEIC and HEIF on one thread, by libheif.

    Returns
    -------
    str or None
        What is missing, and the way out.
    """
    try:
        import pillow_heif
    except ImportError:
        return 'HEIC: pip install "pomona[heif]", on executors as well'
    pillow_heif.register_heif_opener(
        decode_threads=1, thumbnails=False, depth_images=False, aux_images=False
    )
    return None


def set_up_dicom() -> str | None:
    """Makes Pillow decode DICOM, by pydicom.

    Returns
    -------
    str or None
        What is missing, and the way out.
    """
    try:
        from pomona.images.dicom import register
    except ImportError:
        return 'DICOM: pip install "pomona[dicom]", on executors as well'
    register()
    return None
