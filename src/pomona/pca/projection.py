"""A fitted PCA, and how it is applied to features."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pomona.pca.blas import one_thread

# Rows are projected in blocks of one shape, so that a row's bits do not depend on its company.
BLOCK_ROWS = 64


@dataclass(frozen=True)
class Projection:
    """The principal components of features, fitted.

    Attributes
    ----------
    mean : float64[D]
        The mean of the features.
    components : float64[k, D]
        Orthonormal rows, by falling variance.
    variances : float64[r]
        All variances of the features, r = min(n − 1, D) ≥ k.
    n : int
        How many rows of features it was fitted on.
    requested : tuple
        What decided k: ("components", k) or ("variance", share).
    last_part : int, optional
        The last of the store's parts that it was fitted on, if known.
    """

    mean: npt.NDArray[np.float64]
    components: npt.NDArray[np.float64]
    variances: npt.NDArray[np.float64]
    n: int
    requested: tuple[str, float]
    last_part: int | None = None

    @property
    def k(self) -> int:
        """The number of components."""
        return len(self.components)

    @cached_property
    def id(self) -> str:
        """The digest of mean and components, which decide a projected row."""
        digest = hashlib.sha256(np.ascontiguousarray(self.mean).tobytes())
        digest.update(np.ascontiguousarray(self.components).tobytes())
        return digest.hexdigest()[:16]

    @property
    def explained(self) -> npt.NDArray[np.float64]:
        """The share of the total variance that each component explains, float64[r]."""
        total = self.variances.sum()
        return self.variances / total if total > 0 else np.zeros_like(self.variances)

    @property
    def variance_explained(self) -> float:
        """The share of the total variance that the k components explain together."""
        return float(self.explained[: self.k].sum())

    def summary(self) -> dict[str, Any]:
        """The `pca` section of the manifest."""
        return {
            "components": self.k,
            "variance_explained": self.variance_explained,
            "requested": dict([self.requested]),
            "projection_id": self.id,
            "fitted_on": self.n,
        }

    def apply(self, features: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        """Projects features: (features − mean) · componentsᵀ, computed in float64.

        Parameters
        ----------
        features : float32[n, D] or float64[n, D]
            Rows of the projection's width.

        Returns
        -------
        float32[n, k]
            The rows on the principal components.

        Raises
        ------
        ValueError
            For another width.
        """
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise ValueError(
                f"features of shape [n, {len(self.mean)}] wanted, not {features.shape}"
            )
        projected = np.empty((len(features), self.k), np.float32)
        block = np.zeros((BLOCK_ROWS, len(self.mean)))
        with one_thread():
            for start in range(0, len(features), BLOCK_ROWS):
                rows = features[start : start + BLOCK_ROWS]
                np.subtract(rows, self.mean, out=block[: len(rows)])
                projected[start : start + len(rows)] = (block @ self.components.T)[: len(rows)]
        return projected

    def to_bytes(self) -> bytes:
        """The projection as an .npz file."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            mean=self.mean,
            components=self.components,
            variances=self.variances,
            n=np.int64(self.n),
            id=np.str_(self.id),
            requested=np.str_(json.dumps(self.requested)),
            last_part=np.int64(-1 if self.last_part is None else self.last_part),
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Projection:
        """Inverse of `to_bytes`."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            name, amount = json.loads(str(arrays["requested"]))
            last_part = int(arrays["last_part"]) if "last_part" in arrays else -1
            return cls(
                arrays["mean"],
                arrays["components"],
                arrays["variances"],
                int(arrays["n"]),
                (name, amount),
                None if last_part < 0 else last_part,
            )
