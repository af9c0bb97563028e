"""What is true of a model, measured from its weights and never carried beside it."""

from tfopt.facts.checks import broken_weights, check_stripped, check_usable
from tfopt.facts.kernels import kernels, trainable_kernels, unwrapped
from tfopt.facts.model import (
    KernelFacts,
    ModelFacts,
    clustered_layers,
    is_fake_quantized,
    kernel_facts,
    layers_of,
    lost_gains,
    measure,
    sparse_layers,
    weights_checksum,
)

__all__ = [
    "KernelFacts",
    "ModelFacts",
    "broken_weights",
    "check_stripped",
    "check_usable",
    "clustered_layers",
    "is_fake_quantized",
    "kernel_facts",
    "kernels",
    "layers_of",
    "lost_gains",
    "measure",
    "sparse_layers",
    "trainable_kernels",
    "unwrapped",
    "weights_checksum",
]
