"""What plans are made of, and a model as a run saves it."""

from generating import folder, generator  # noqa: F401
from plans import run, shards  # noqa: F401
