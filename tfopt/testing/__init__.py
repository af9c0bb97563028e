"""For tests, yours included: tiny models, and the suite every technique is held to."""

from tfopt.testing.conformance import check_technique
from tfopt.testing.models import dense_net, depthwise_net, residual_net, small_cnn

__all__ = ["check_technique", "dense_net", "depthwise_net", "residual_net", "small_cnn"]
