"""Recipes: a Python function from a dataset's size to one complete, frozen configuration of a run."""

from collections.abc import Callable

from model.graph_encoder import Content
from offline.dataset import Dataset
from offline.recipe_settings import GeneratorSettings, GraphSettings, RecIdSettings, Recipe


def tiny(_dataset: Dataset, seed: int) -> Recipe:
    """For the built-in shop and for tests: small sizes, a minute of training."""
    return Recipe(
        name="tiny",
        seed=seed,
        graph=GraphSettings(
            dim=64,
            members=("fused",),
            member_dim=64,
            num_layers=2,
            latent_dim=32,
            num_steps=300,
            num_quantizer_steps=200,
            batch_users=128,
            temperatures=(0.3,),
            embedding_dropout=0.5,
        ),
        rec_ids=RecIdSettings(num_levels=3, codebook_size=16, bucket_bound=8, popularity_headroom=8),
        generator=GeneratorSettings(
            dim=64,
            num_heads=4,
            num_layers=1,
            feedforward_dim=128,
            dropout=0.1,
            max_history=32,
            num_steps=500,
            batch_users=64,
            num_targets=4,
            num_teacher_targets=4,
            teacher_temperature=0.67,
            num_sequence_layers=1,
            num_sequence_steps=60,
        ),
    )


def standard(dataset: Dataset, seed: int) -> Recipe:
    """For any dataset folder: sizes follow the counts, order matters when there is time."""
    smallest, largest = (32, 256) if dataset.has_time else (512, 1024)
    batch_users = min(largest, max(smallest, dataset.num_users // 16))
    return Recipe(
        name="standard",
        seed=seed,
        graph=GraphSettings(
            dim=128,
            members=_members(len(dataset.train.users), dataset.num_items),
            member_dim=64,
            num_layers=2,
            latent_dim=64,
            num_steps=_graph_steps(dataset, batch_users),
            num_quantizer_steps=400,
            batch_users=batch_users,
            temperatures=(0.1, 0.2) if dataset.has_time else (0.2, 0.1),
            max_candidates=4096 if dataset.has_time else 32768,
            context_smoothing=_context_smoothing(dataset),
            fan_out=_fan_out(len(dataset.train.users)),
        ),
        rec_ids=_rec_ids(dataset.num_items),
        generator=GeneratorSettings(
            dim=128,
            num_heads=4,
            num_layers=2,
            feedforward_dim=256,
            dropout=0.2,
            max_history=_max_history(dataset),
            num_steps=_generator_steps(dataset),
            # The teacher's distribution is dense in the catalogue: with millions of items fewer users share a batch.
            batch_users=min(_users_of_a_step(dataset), max(4, 2**26 // dataset.num_items)),
            num_targets=4,
            num_teacher_targets=4,
            learning_rate=3e-3,
            num_sequence_layers=2,
            num_sequence_steps=max(240, 3 * (dataset.num_users // 64 + 1)),
        ),
    )


def _users_of_a_step(dataset: Dataset) -> int:
    """64 while their histories have 64 slots; fewer longer ones, down to 16, so that a step costs the same.

    On generated sets of 256 slots 16 users are no worse than 64 (docs/experiments.md).
    """
    return 64 * 64 // _max_history(dataset)


def _generator_steps(dataset: Dataset) -> int:
    """Eight rounds over the users, 800 steps at least; four over the prefixes of long sequences, up to 2,400 steps.

    Every prefix of a sequence is a history of its own: 800 steps look at 1,000 users' 40 prefixes once
    (docs/experiments.md).
    """
    rounds = max(800, 8 * (dataset.num_users // _users_of_a_step(dataset) + 1))
    if not dataset.has_time:
        return rounds
    return max(rounds, min(2400, 4 * len(dataset.train.users) // 64))


def _graph_steps(dataset: Dataset, batch_users: int) -> int:
    """Five rounds over the users, 320 steps at least; sets go on for as long as the data bears it.

    What bounds them is how often an average item was taken: with 31 interactions an item (`lastfm-2k`) 640 steps are
    better than 320. With 9 (`tiktok`) the test users are for 320 and the validation users for 640, neither beyond noise
    (docs/experiments.md).
    """
    rounds = max(320, 5 * (dataset.num_users // batch_users + 1))
    if dataset.has_time:
        return rounds
    return max(rounds, min(1280, 20 * len(dataset.train.users) // dataset.num_items))


def _max_history(dataset: Dataset) -> int:
    """64 slots: of a sequence the newest count. Of a set all do, so that twice the usual history fits, up to 256.

    A history that is longer loses items for no reason but their place in it (docs/experiments.md).
    """
    slots = 64
    while not dataset.has_time and slots < min(256, 2 * len(dataset.train.users) / dataset.num_users):
        slots *= 2
    return slots


def _context_smoothing(dataset: Dataset) -> float:
    """In a set every item stands for a taste, and its neighbours do as well; in a sequence it says what follows.

    Neighbours are found by exhaustive search, which the known items of a large catalogue are spared. Items that nobody
    has had search all the same, for they have no context of their own (`offline.train_graph_encoder.MOST_NEIGHBOURS`).
    """
    return 0.2 if not dataset.has_time and dataset.num_items <= 2**17 else 0.0


def _fan_out(num_interactions: int) -> int:
    """Neighbours that a step looks at: all of them while a step on the whole graph is affordable."""
    return 0 if num_interactions < 2**21 else 8


def _members(num_interactions: int, num_items: int) -> tuple[Content, ...]:
    """As many of each kind. They are worth most where interactions are few (docs/experiments.md).

    Each keeps vectors of every item with their gradients and moments, 10 KB an item and pair: 2^19 of these are 5 GiB.
    """
    wanted = 4 if num_interactions < 2**17 else 2 if num_interactions < 2**20 else 1
    return ("fused", "aligned") * max(1, min(wanted, 2**19 // num_items))


def _rec_ids(num_items: int) -> RecIdSettings:
    """Few levels of many codes: what a level's head says of a token is exact, what tokens say together is learned.

    About eight items per first code, 8 to 512 codes; a second level suffices up to 32 items per first code, and three
    levels of 512 name 134 million items.
    """
    size = 8
    while size < 512 and size * 8 < num_items:
        size *= 2
    num_levels = 2 if num_items <= 32 * size else 3
    return RecIdSettings(num_levels=num_levels, codebook_size=size, bucket_bound=8, popularity_headroom=8)


def paper(dataset: Dataset, seed: int) -> Recipe:
    """The settings of MMGRec as published (arXiv 2404.16555 and its code), as far as they are known.

    BPR on two layers, items from content alone (where there is any), 3 × 128 codes, quantised after the graph is
    trained, a generator of width 64 that learns from held-out items only, no dense term. Not reproduced: SGD with
    momentum (AdamW here), free user embeddings (users are sums of contexts), the target inside the encoder's set.
    """
    num_pairs = len(dataset.train.users)
    return Recipe(
        name="paper",
        seed=seed,
        graph=GraphSettings(
            dim=64,
            members=("fused",),
            member_dim=64,
            num_layers=2,
            latent_dim=4,
            num_steps=max(100, 60 * num_pairs // 3000),
            num_quantizer_steps=600,
            batch_users=max(16, 3000 * dataset.num_users // max(num_pairs, 1)),
            learning_rate=1e-3,
            temperatures=(1.0,),
            embedding_dropout=1.0 if dataset.features else 0.0,
            collaborative_loss="bpr",
        ),
        rec_ids=RecIdSettings(
            num_levels=3, codebook_size=128, bucket_bound=64, popularity_headroom=8, min_code_usage=0.0
        ),
        generator=GeneratorSettings(
            dim=64,
            num_heads=4,
            num_layers=2,
            feedforward_dim=64,
            dropout=0.2,
            max_history=32,
            num_steps=max(1200, 20 * num_pairs // 256),
            batch_users=64,
            num_targets=4,
            num_teacher_targets=0,
            teacher_weight=0.0,
            transition_weights=(0.0,),
            ease_weights=(0.0,),
        ),
        dense_weights=(0.0,),
    )


RECIPES: dict[str, Callable[[Dataset, int], Recipe]] = {"tiny": tiny, "standard": standard, "paper": paper}
