"""For tests, yours included: tiny models, a zoo of typical ones, and the suite for techniques."""

from tfopt.testing.conformance import check_technique
from tfopt.testing.models import dense_net, depthwise_net, residual_net, small_cnn
from tfopt.testing.stress import stress
from tfopt.testing.zoo import ZooModel, random_task

__all__ = [
    "ZooModel",
    "check_technique",
    "dense_net",
    "depthwise_net",
    "random_task",
    "residual_net",
    "small_cnn",
    "stress",
]
