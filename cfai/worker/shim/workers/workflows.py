"""`workers.workflows`, so that a script that has one can be imported; none is run."""

__all__ = ["NonRetryableError"]


class NonRetryableError(Exception):
    """A step that fails with it is not tried again."""
