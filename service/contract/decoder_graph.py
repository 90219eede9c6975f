"""Names of the exported decoder's inputs and outputs, in the order in which the module takes them."""

HISTORY, BEAM_SLOTS = "history", "beam_slots"
FILTER_SLOTS, ONLY_LISTED = "filter_slots", "only_listed"
ITEM_VECTORS, LEAF_TO_ROW = "item_vectors", "leaf_to_row"
OUTPUT_NAMES = ("leaves", "log_prob", "score")
"""What every search returns."""


def listed_name(level: int) -> str:
    """Input with the nodes that a level's step may not enter, or may enter alone."""
    return f"listed_{level}"


def allowed_name(level: int) -> str:
    """Input with the tables of category filters over the nodes that a level leads to."""
    return f"allowed_{level}"


def trie_names(level: int) -> tuple[str, str, str]:
    """Inputs with a level's child starts, tokens and child slots."""
    return f"child_start_{level}", f"tokens_{level}", f"child_slots_{level}"


def beam_names(level: int) -> tuple[str, str]:
    """Outputs with the beams behind a level: their nodes and log-probabilities so far, both [batch, beam width].

    What the search has at hand anyway; asked for only to explain an answer, and absent from older graphs.
    """
    return f"nodes_{level}", f"log_prob_{level}"


def output_names(num_levels: int) -> list[str]:
    """All outputs in order."""
    return [*OUTPUT_NAMES, *(name for level in range(num_levels) for name in beam_names(level))]


def input_names(num_levels: int) -> list[str]:
    """All inputs in order."""
    levels = range(num_levels)
    constraints = [FILTER_SLOTS, ONLY_LISTED, *map(listed_name, levels), *map(allowed_name, levels)]
    trie = [name for level in levels for name in trie_names(level)]
    return [HISTORY, BEAM_SLOTS, *constraints, ITEM_VECTORS, LEAF_TO_ROW, *trie]
