"""A process group of this process alone."""

from lone_group import lone_group  # noqa: F401
