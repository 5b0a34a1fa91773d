"""Images in memory become an array of features."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from pomona.backbones import cache, precision, registry
from pomona.backbones.network import Network
from pomona.backbones.overrides import ModelOverrides
from pomona.backbones.runtimes import registry as runtimes
from pomona.backbones.runtimes.base import DEFAULT_PRECISION
from pomona.backbones.spec import Backbone
from pomona.errors import BackboneError, ImageError, PomonaError, UsageError
from pomona.extraction.batches import Batches
from pomona.extraction.recipe import make_recipe
from pomona.images.decode import array_to_rgb, decode, to_rgb
from pomona.images.fetch import fetch
from pomona.images.orientation import Pixels
from pomona.stopwatch import Stopwatch
from pomona.store import schemas
from pomona.store.recipe import Recipe

AnyImage: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]"


def featurize(
    images: Sequence[AnyImage],
    recipe: Recipe | None = None,
    *,
    allow_damaged: bool = False,
) -> npt.NDArray[np.float32]:
    """Computes the features (embeddings) of images, exactly as a store of this recipe holds them.

    Parameters
    ----------
    images : sequence
        Paths, bytes of image files, Pillow images, or uint8[h, w, 3] arrays (RGB).
    recipe : Recipe, optional
        How to make the features, as `store.recipe`. None: the default backbone on the whole
        image, stretched.
    allow_damaged : bool
        Whether to take damaged images as far as they can be decoded.

    Returns
    -------
    float32[n, width]
        A row for each image.

    Raises
    ------
    ImageError
        For the first image that gives no features.
    BackboneError
        If the recipe's network is not available.
    UsageError
        If `images` is a single image, or `recipe` is not a Recipe.
    """
    _check_list(images)
    images = list(images)
    if not isinstance(recipe, Recipe | None):
        raise UsageError(f"featurize takes a Recipe, such as store.recipe, not {recipe!r}")
    network, recipe = _load_default() if recipe is None else (load_network(recipe), recipe)
    batches = Batches(len(images), network, recipe, Stopwatch())
    for row, image in enumerate(images):
        try:
            batches.add(row, read_pixels(image, recipe.side, allow_damaged=allow_damaged))
        except ImageError as exc:
            name = f" ({image})" if isinstance(image, (str, os.PathLike)) else ""
            detail = f"image {row}{name}: {exc.detail}".removesuffix(": ")
            raise ImageError(exc.stage, exc.reason, detail) from exc
    batches.flush()
    return batches.features


def _check_list(images: object) -> None:
    """Raises UsageError for what is not several images."""
    is_one = isinstance(images, (str, bytes, os.PathLike, Image.Image)) or hasattr(images, "read")
    if isinstance(images, np.ndarray) and images.dtype.kind not in "OUS":
        is_one = images.ndim < 4
    if is_one:
        raise UsageError("featurize takes a list of images: put the image in brackets")
    if not isinstance(images, Iterable) or isinstance(images, (Mapping, Set)):
        raise UsageError(f"featurize takes a list of images, not {type(images).__name__}")


def find_backbone(recipe: Recipe) -> Backbone:
    """Returns the backbone that made the features of a recipe.

    Raises
    ------
    BackboneError
        If there is none here.
    """
    if recipe.input_size is None:
        raise BackboneError(
            "these features were imported: only the program that made them can make more"
        )
    name = recipe.backbone
    try:
        return registry.get(name, ModelOverrides(input_size=recipe.input_size))
    except PomonaError as exc:
        if not name.endswith(".onnx"):
            raise
        raise BackboneError(
            f"these features were made by a file {name}: `pomona backbones export FILE.onnx "
            f"{name}` with the settings of its run writes one, in the current folder, to be used"
        ) from exc


def load_network(recipe: Recipe) -> Network:
    """Returns the network of a recipe, ready to run as in the store's own run.

    Raises
    ------
    BackboneError
        If it is not here.
    """
    backbone = find_backbone(recipe)
    runtime = recipe.runtime or runtimes.DEFAULT
    network = precision.load(backbone, runtime, recipe.precision or DEFAULT_PRECISION)
    if recipe.model_sha256 != network.digest:
        raise BackboneError(
            f"the recipe's {recipe.backbone} is another network than this pomona has: "
            "use the version and the weights that made the store"
        )
    return network


def _load_default() -> tuple[Network, Recipe]:
    backbone = registry.get(registry.DEFAULT)
    network = cache.load(backbone)
    return network, make_recipe(backbone, network, "stretch")


def read_pixels(image: AnyImage, side: int | None, *, allow_damaged: bool = False) -> Pixels:
    """Returns the pixels of an image, uint8[h, w, 3].

    Parameters
    ----------
    image : str, path-like, bytes, Pillow image or ndarray
        As `featurize` takes it.
    side, allow_damaged
        As for `decode`.

    Raises
    ------
    ImageError
        If it gives none.
    """
    if isinstance(image, bytes):
        return decode(image, side=side, allow_damaged=allow_damaged).pixels
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if isinstance(image, np.ndarray):
        return array_to_rgb(image)
    if not isinstance(image, (str, os.PathLike)):
        hint = ""
        if hasattr(image, "read"):
            hint = ": give what its read() returns"
        elif hasattr(image, "numpy"):
            hint = ": give its numpy() as uint8[h, w, 3]"
        raise UsageError(
            f"an image is a path, the bytes of a file, a Pillow image or an array, not "
            f"{type(image).__name__}{hint}"
        )
    path = Path(image)
    data = fetch(str(path.parent), schemas.encode_path(path.name))
    return decode(data, side=side, allow_damaged=allow_damaged).pixels
