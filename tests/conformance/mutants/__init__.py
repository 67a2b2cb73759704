"""Every mutation, in the order of the README."""

from . import lists, queries, formats  # noqa: F401
from .registry import MUTATIONS  # noqa: F401
