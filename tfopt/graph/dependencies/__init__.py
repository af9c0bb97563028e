"""Which channels of a model depend on each other: what is removed together, and what cannot be.

`channels` numbers channels and takes down what the rules tell; `rules` (layers with weights) and
`shapes` (layers that move, merge or cut tensors) are those rules; `analysis` walks a model by them;
`liveness` says what is left of a model without some of its channels.
"""

from tfopt.graph.dependencies.analysis import Dependencies, Group, analyse
from tfopt.graph.dependencies.channels import Axis
from tfopt.graph.dependencies.liveness import gone, without

__all__ = ["Axis", "Dependencies", "Group", "analyse", "gone", "without"]
