"""One kernel as a product of smaller ones: truncated SVD, spatial SVD and Tucker-2."""

from __future__ import annotations

import abc
import dataclasses
import functools
import math

import numpy as np

from tfopt.graph.cost import Cost

_SWEEPS = 3


@dataclasses.dataclass(frozen=True)
class Extent:
    """Where a kernel is applied: the sizes of the images in front of and behind it.

    Args:
        inputs: Height and width in front; (1, 1) for a dense layer.
        outputs: Height and width behind.
    """

    inputs: tuple[int, int] = (1, 1)
    outputs: tuple[int, int] = (1, 1)

    def strided(self, kernel: np.ndarray) -> tuple[int, int]:
        """Height and width behind a first factor of 1x1: it strides where no factor has extent."""
        rows, columns = (
            behind if size == 1 else before
            for size, before, behind in zip(
                kernel.shape[:2], self.inputs, self.outputs, strict=True
            )
        )
        return rows, columns


class Factorization(abc.ABC):
    """A way of writing a kernel as a product, for any share of its energy.

    The energy is the sum of the squared weights; a product that keeps a share of it misses the
    kernel by the rest.

    Args:
        kernel: (height, width, inputs, outputs).
        *extents: Where it is applied, one for each call of its layer.
    """

    def __init__(self, kernel: np.ndarray, *extents: Extent) -> None:
        self.kernel, self.extents = kernel.astype(np.float64), extents

    @abc.abstractmethod
    def ranks(self, energy: float) -> tuple[int, ...]:
        """The smallest ranks that keep a share of the energy, 0 to 1."""

    @abc.abstractmethod
    def cost(self, ranks: tuple[int, ...]) -> Cost:
        """What the product costs, in all calls."""

    @abc.abstractmethod
    def factors(self, ranks: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        """The kernels of the product, (height, width, inputs, outputs) each, applied in order."""


class ChannelSVD(Factorization):
    """A kernel without extent, of a dense layer or a 1x1 convolution, as two.

    Example:
        >>> kernel = np.outer([1.0, 2.0], [3.0, 4.0, 5.0])[None, None]
        >>> svd = ChannelSVD(kernel, Extent())
        >>> svd.ranks(0.999), [factor.shape for factor in svd.factors((1,))]
        ((1,), [(1, 1, 2, 1), (1, 1, 1, 3)])

    References:
        Denton et al., Exploiting Linear Structure Within Convolutional Networks for Efficient
        Evaluation, 2014, section 3.2; Eckart and Young, 1936.
    """

    @functools.cached_property
    def _parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.linalg.svd(self.kernel[0, 0], full_matrices=False)

    def ranks(self, energy: float) -> tuple[int, ...]:
        """One rank."""
        return (_rank(self._parts[1], energy),)

    def cost(self, ranks: tuple[int, ...]) -> Cost:
        """A stride is left to the first factor, so that the second runs on fewer places."""
        _, _, inputs, outputs = self.kernel.shape
        weights = ranks[0] * (inputs + outputs)
        return Cost(weights * sum(math.prod(extent.outputs) for extent in self.extents), weights)

    def factors(self, ranks: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        """To `rank` channels, and from there to the outputs."""
        left, right = _halves(self._parts, ranks[0])
        return left[None, None], right[None, None]


class SpatialSVD(Factorization):
    """A convolution as a vertical one and a horizontal one.

    Example:
        >>> kernel = np.einsum("h,w,i,o->hwio", [1, 2, 1], [1, 0, -1], [1, 2], [3, 4])
        >>> SpatialSVD(kernel, Extent((8, 8), (8, 8))).ranks(0.999)
        (1,)

    References:
        Jaderberg, Vedaldi and Zisserman, Speeding up Convolutional Neural Networks with Low Rank
        Expansions, 2014, section 2.1, scheme 2; Tai et al., Convolutional neural networks with
        low-rank regularization, 2016, theorem 1 (the SVD gives the best one).
    """

    @functools.cached_property
    def _parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        height, width, inputs, outputs = self.kernel.shape
        matrix = self.kernel.transpose(0, 2, 1, 3).reshape(height * inputs, width * outputs)
        return np.linalg.svd(matrix, full_matrices=False)

    def ranks(self, energy: float) -> tuple[int, ...]:
        """One rank."""
        return (_rank(self._parts[1], energy),)

    def cost(self, ranks: tuple[int, ...]) -> Cost:
        """The vertical factor, with its stride, runs at every column that the other may read."""
        height, width, inputs, outputs = self.kernel.shape
        first, second = ranks[0] * height * inputs, ranks[0] * width * outputs
        macs = 0
        for extent in self.extents:
            rows, columns = extent.outputs
            macs += (first * extent.strided(self.kernel)[1] + second * columns) * rows
        return Cost(macs, first + second)

    def factors(self, ranks: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        """(height, 1) to `rank` channels, then (1, width) to the outputs."""
        height, width, inputs, outputs = self.kernel.shape
        left, right = _halves(self._parts, ranks[0])
        first = left.reshape(height, 1, inputs, ranks[0])
        return first, right.reshape(ranks[0], width, outputs).transpose(1, 0, 2)[None]


class Tucker2(Factorization):
    """A convolution as a 1x1 one to fewer channels, a smaller one, and a 1x1 one to the outputs.

    Example:
        >>> kernel = np.einsum("hw,i,o->hwio", np.eye(3), [1, 2], [3, 4])
        >>> Tucker2(kernel, Extent((8, 8), (8, 8))).ranks(0.999)
        (1, 1)

    References:
        Kim et al., Compression of Deep Convolutional Neural Networks for Fast and Low Power Mobile
        Applications, 2016, section 3.2; De Lathauwer et al., On the best rank-(R1, R2, ..., RN)
        approximation of higher-order tensors, 2000 (the sweeps).
    """

    @functools.cached_property
    def _spectra(self) -> tuple[np.ndarray, np.ndarray]:
        return tuple(  # type: ignore[return-value]
            np.linalg.svd(_unfolded(self.kernel, axis), compute_uv=False) for axis in (2, 3)
        )

    def ranks(self, energy: float) -> tuple[int, ...]:
        """The rank of the inputs and that of the outputs; each may lose half of the energy."""
        each = 1 - (1 - energy) / 2
        return tuple(_rank(spectrum, each) for spectrum in self._spectra)

    def cost(self, ranks: tuple[int, ...]) -> Cost:
        """The first factor runs at every place that the second may read."""
        height, width, inputs, outputs = self.kernel.shape
        parts = (inputs * ranks[0], height * width * ranks[0] * ranks[1], ranks[1] * outputs)
        before = sum(math.prod(extent.strided(self.kernel)) for extent in self.extents)
        behind = sum(math.prod(extent.outputs) for extent in self.extents)
        return Cost(parts[0] * before + (parts[1] + parts[2]) * behind, sum(parts))

    def factors(self, ranks: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        """The bases of the inputs and outputs, each improved in turn, and what lies between."""
        bases = [_basis(self.kernel, axis, rank) for axis, rank in zip((2, 3), ranks, strict=True)]
        for _ in range(_SWEEPS):
            bases[0] = _basis(np.einsum("hwio,or->hwir", self.kernel, bases[1]), 2, ranks[0])
            bases[1] = _basis(np.einsum("hwio,ir->hwro", self.kernel, bases[0]), 3, ranks[1])
        core = np.einsum("hwio,ir,os->hwrs", self.kernel, *bases)
        return bases[0][None, None], core, bases[1].T[None, None]


def product(factors: tuple[np.ndarray, ...]) -> np.ndarray:
    """Returns the kernel that a chain of kernels stands for.

    Args:
        factors: (height, width, inputs, outputs) each, applied in order; each axis has extent in
            one of them at the most.

    Example:
        >>> kernel = np.arange(36.0).reshape(3, 3, 2, 2)
        >>> exact = SpatialSVD(kernel, Extent())
        >>> np.allclose(product(exact.factors((6,))), kernel)
        True
    """
    first, *others = factors
    for factor in others:
        both = np.einsum("hwir,xyro->hxwyio", first, factor)
        height, other_height, width, other_width, *channels = both.shape
        first = both.reshape(height * other_height, width * other_width, *channels)
    return first


def _rank(spectrum: np.ndarray, energy: float) -> int:
    """How many of the singular values hold a share of the energy; at least one."""
    held = np.cumsum(spectrum**2)
    if not held[-1]:
        return 1
    return min(len(held), int(np.searchsorted(held, energy * held[-1] * (1 - 1e-12))) + 1)


def _halves(
    parts: tuple[np.ndarray, np.ndarray, np.ndarray], rank: int
) -> tuple[np.ndarray, np.ndarray]:
    """The two factors of a truncated SVD, with the singular values shared between them."""
    left, values, right = parts
    root = np.sqrt(values[:rank])
    return left[:, :rank] * root, root[:, None] * right[:rank]


def _unfolded(kernel: np.ndarray, axis: int) -> np.ndarray:
    """A kernel as a matrix with one row for each place on an axis."""
    return np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1)


def _basis(kernel: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """The directions on an axis that hold most energy, (size, rank)."""
    return np.linalg.svd(_unfolded(kernel, axis), full_matrices=False)[0][:, :rank]
