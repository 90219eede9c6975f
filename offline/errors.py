"""The errors a job ends with; `offline.__main__` maps each to its exit code (design, section 5)."""


class BadInputError(ValueError):
    """What the caller gave cannot be used. The message names the thing, the value, the limit and the cure. Exit 2."""


class GateRefusedError(RuntimeError):
    """The candidate release did not pass the gate; nothing was published. Exit 3."""
