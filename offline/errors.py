"""The errors a job ends with; `offline.__main__` maps each to its exit code (design, section 5)."""


class BadInputError(ValueError):
    """What the caller gave cannot be used. The message names the thing, the value, the limit and the cure. Exit 2."""


class OtherRunError(BadInputError):
    """A run folder holds a run of another recipe, other data or another start. Exit 2."""


class GateRefusedError(RuntimeError):
    """The candidate release did not pass the gate; nothing was published. Exit 3."""


class JobError(RuntimeError):
    """A job cannot go on for a reason outside its input, such as Redis being away. One line with the cure. Exit 1."""


class LockedError(RuntimeError):
    """Another process runs the same job on the same namespace. Exit 4."""


class CollapsedRecIdsError(RuntimeError):
    """Codebooks or buckets fell below a floor of the recipe; the run stops rather than serve such Rec-IDs. Exit 1."""
