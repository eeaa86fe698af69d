"""Neural networks for liquid-argon TPC data written by the Wire-Cell Toolkit."""

__version__ = "0.1.0"
