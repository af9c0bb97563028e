"""A saved result as a folder that an app's team can drop in: file, code, labels, examples."""

from tfopt.shipping.folder import Platform, ShippingWarning, ship

__all__ = ["Platform", "ShippingWarning", "ship"]
