"""Typical small models, each for tf_keras and Keras 3 from one definition: what people deploy.

A family is a module; `MODELS` holds them all. No weight is trained, but all are what trained ones
are like: batch norm holds the statistics of data, and no scale or offset is what it was born with.
"""

from tfopt.testing.zoo import (
    activations,
    audio,
    autoencoders,
    branches,
    detection,
    normalization,
    own_code,
    preprocessing,
    recurrent,
    segmentation,
    tabular,
    text,
    transformers,
    vision,
    volumes,
)
from tfopt.testing.zoo.data import random_task
from tfopt.testing.zoo.model import ZooModel, settle

__all__ = ["MODELS", "ZooModel", "random_task", "settle"]

MODELS: tuple[ZooModel, ...] = (
    *vision.MODELS,
    *audio.MODELS,
    *text.MODELS,
    *detection.MODELS,
    *segmentation.MODELS,
    *transformers.MODELS,
    *autoencoders.MODELS,
    *recurrent.MODELS,
    *branches.MODELS,
    *activations.MODELS,
    *normalization.MODELS,
    *preprocessing.MODELS,
    *volumes.MODELS,
    *tabular.MODELS,
    *own_code.MODELS,
)
"""Every model, family by family."""
