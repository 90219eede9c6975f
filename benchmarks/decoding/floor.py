"""The least time that a request can take: its multiply-adds at the best rate of a matrix product.

The multiply-adds follow from the architecture (model/generator.py, attention.py, beam_decoder.py), never from an
exported graph, so waste in the graph shows. Only products count: norms, softmaxes, gathers, TopK and the trie are free.

Letters: H = history, S = H + 1 slots, D = width, F = columns of an item vector (half key, half context), U =
feed-forward width, W = beams, V = vocabulary of a level. The number of heads does not matter: A heads of width D / A
cost what one of width D does. The attention is the relation-aware one.
"""

from model.generator import GeneratorConfig


def multiply_adds(config: GeneratorConfig, *, history: int, beam_width: int) -> dict[str, int]:
    """Multiply-adds of one request, by part.

    Args:
        config: sizes of the generator.
        history: items of the history.
        beam_width: beams.

    Returns:
        `encoder`, `decoder`, `tokens`, `dense` and their sum, `total`.
    """
    parts = {
        "encoder": _encoder(config, history),
        "decoder": sum(
            (beam_width if level else 1) * _prefix(config, history + 1, level, vocabulary)
            for level, vocabulary in enumerate(config.vocabulary_sizes)
        ),
        # The history state with the keys of all tokens, once per request and level, whatever the beams.
        "tokens": config.vector_dim // 2 * sum(config.vocabulary_sizes),
        # The history state with the key of every beam's item.
        "dense": beam_width * config.vector_dim // 2,
    }
    return {**parts, "total": sum(parts.values())}


def _encoder(config: GeneratorConfig, history: int) -> int:
    dim, slots = config.dim, history + 1
    projections = 6 * slots * dim**2  # query, key and value, shared and relation
    gate = dim * (dim // 2) + (dim // 2) * 3 * dim
    attention = slots**2 * (2 * dim + dim)  # scores of [Q; Q_u] with [K; K_u], then the values
    out = slots * dim**2
    feedforward = 2 * slots * dim * config.feedforward_dim
    layers = config.num_encoder_layers * (projections + gate + attention + out + feedforward)
    item_projection = history * config.vector_dim * dim
    state = history * config.vector_dim // 2  # a weighted sum of contexts
    state_slot = user_projection = config.vector_dim // 2 * dim
    cross = config.num_decoder_layers * 2 * slots * dim**2  # keys and values, once per request
    return item_projection + state + _sequence(config, history) + state_slot + user_projection + layers + cross


def _sequence(config: GeneratorConfig, history: int) -> int:
    """The sequence encoder; in its last layer the newest item alone looks around."""
    if not config.num_sequence_layers:
        return 0
    dim, slots = config.dim, history + 1  # an empty slot stands behind the last

    def layer(queries: int) -> int:
        keys_and_values = 2 * slots * dim**2
        return keys_and_values + queries * (4 * dim**2 + 2 * slots * dim)  # query, out, feed-forward, attention

    ends = history * config.vector_dim * dim + dim * config.vector_dim // 2  # what goes in, what comes out
    return ends + (config.num_sequence_layers - 1) * layer(slots) + layer(1)


def _prefix(config: GeneratorConfig, slots: int, level: int, vocabulary: int) -> int:
    """One position of one prefix."""
    dim = config.dim
    # The first position attends to itself alone: no query, no scores.
    self_attention = 4 * dim**2 + 2 * (level + 1) * dim if level else 3 * dim**2
    cross_attention = 2 * dim**2 + 2 * slots * dim  # query and out; keys and values are the encoder's
    feedforward = 2 * dim * config.feedforward_dim
    return config.num_decoder_layers * (self_attention + cross_attention + feedforward) + dim * vocabulary
