"""Image files with a secret wherever their formats have a place for metadata."""

from __future__ import annotations

import io

import pillow_heif
import pydicom
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin
from pydicom.data import get_testdata_file

from drawn import encode, noise, segment

pillow_heif.register_heif_opener()  # the encoder

# Any four letters of it are found, as a chunk's name that is quoted in an error has.
SECRET = "zq" * 20
PIECES = (b"zqzq", b"zq-q", b"qzqz", "zqzq".encode("utf-16-le"))


def exif() -> Image.Exif:
    """A camera, a place, a time, its maker's notes, and a thumbnail."""
    tags = Image.Exif()
    for tag in ("Make", "Model", "Software", "DateTime", "Artist", "ImageDescription", "Copyright"):
        tags[ExifTags.Base[tag]] = SECRET
    camera = tags.get_ifd(ExifTags.IFD.Exif)
    for tag in ("BodySerialNumber", "DateTimeOriginal", "CameraOwnerName", "LensModel"):
        camera[ExifTags.Base[tag]] = SECRET
    camera[ExifTags.Base.MakerNote] = camera[ExifTags.Base.UserComment] = SECRET.encode()
    place = tags.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSAreaInformation] = SECRET.encode()
    place[ExifTags.GPS.GPSDateStamp] = SECRET
    thumbnail = tags.get_ifd(ExifTags.IFD.IFD1)
    thumbnail[ExifTags.Base.ImageDescription] = SECRET
    return tags


def dicom() -> bytes:
    """A CT whose patient, physicians, places, comments and private tags are the secret."""
    path = get_testdata_file("MR_small.dcm", download=False)
    dataset = pydicom.dcmread(str(path))
    for tag in ("PatientName", "PatientID", "PatientAddress", "PatientComments", "AccessionNumber",
                "InstitutionName", "ReferringPhysicianName", "OperatorsName", "StudyDescription",
                "ImageComments", "StudyID"):  # fmt: skip
        setattr(dataset, tag, SECRET[:16])
    dataset.private_block(0x11, SECRET, create=True).add_new(1, "LO", SECRET)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def secret_files() -> dict[str, bytes]:
    """Files with the secret in all their metadata: extension → bytes."""
    image = Image.fromarray(noise(24, 32))
    secret, xmp = SECRET.encode(), f"<x:xmpmeta><photo>{SECRET}</photo></x:xmpmeta>".encode()
    iptc = b"\x1c\x02\x78" + len(secret).to_bytes(2, "big") + secret
    jpeg = encode(image, "JPEG", exif=exif(), xmp=xmp, comment=secret, icc_profile=secret * 4)
    photoshop = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + len(iptc).to_bytes(4, "big") + iptc
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", SECRET)
    text.add_text(SECRET, SECRET, zip=True)
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    text.add(b"prVt", secret)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag in ("Make", "Model", "Software", "DateTime", "Artist", "ImageDescription"):
        tags[ExifTags.Base[tag]] = SECRET
    tags[700], tags[33723] = xmp, iptc
    tags.tagtype.update({700: 1, 33723: 7})
    gif = encode(image.quantize(16), "GIF", comment=secret)
    extension = b"!\xff\x0bXMP DataXMP" + bytes([len(secret)]) + secret + b"\0"
    return {
        "jpg": jpeg[:2] + segment(0xED, photoshop) + segment(0xE5, secret) + jpeg[2:],
        "png": encode(image, "PNG", exif=exif(), pnginfo=text, icc_profile=secret * 4),
        "webp": encode(image, "WEBP", exif=exif(), xmp=xmp, icc_profile=secret * 4),
        "tif": encode(image, "TIFF", tiffinfo=tags, compression="tiff_lzw", icc_profile=secret * 4),
        "gif": gif[:-1] + extension + gif[-1:],
        "avif": encode(image, "AVIF", exif=exif().tobytes(), xmp=xmp, icc_profile=secret * 4),
        "dcm": dicom(),
        "heic": encode(image, "HEIF", exif=exif().tobytes(), xmp=xmp, icc_profile=secret * 4),
    }
