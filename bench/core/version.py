"""The version of bench, where everything below the package's root can read it."""

__version__ = "0.1.0"
