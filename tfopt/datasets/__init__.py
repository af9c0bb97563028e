"""Named data sets and other sources of data, loaded into splits."""

from tfopt.datasets.embedded import digits
from tfopt.datasets.folder import image_folder
from tfopt.datasets.loaded import ImageFormat, ImageType, Loaded
from tfopt.datasets.stream import stream
from tfopt.datasets.tfds import tfds

__all__ = ["ImageFormat", "ImageType", "Loaded", "digits", "image_folder", "stream", "tfds"]
