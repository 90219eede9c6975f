"""The ablations of issue 4: functions from the full recipe to one in which a single part is another or missing."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal, NamedTuple

from model.graph_encoder import Content
from offline.dataset import Dataset
from offline.recipe_settings import GeneratorSettings, GraphSettings, RecIdSettings, Recipe
from offline.text_features import item_texts

FULL = "full"
BEAM_WIDTHS = (10, 20, 50, 100, 200)
LEVELS = (2, 3, 4)
CODEBOOK_SIZES = (32, 64, 128, 256, 512)
FEWEST_ITEMS_PER_CODE = 2
"""A codebook with more codes than half of the catalogue tells single items apart at the first level."""

NO_CO_TEACHER = {"transition_weights": (0.0,), "ease_weights": (0.0,)}

Change = Callable[[Recipe], Recipe]


class Variant(NamedTuple):
    """One row of the study.

    Attributes:
        name: of the row.
        group: which part of MMGRec it is about.
        change: from the full recipe to the variant's.
        beam_width: how many beams the run is scored with; None = the recipe's default tier.
    """

    name: str
    group: str
    change: Change
    beam_width: int | None = None


def variants_of(full: Recipe, dataset: Dataset) -> list[Variant]:
    """`full` first, then all that mean something on the dataset and differ from the full recipe."""
    candidates = [*_graph(), *_content(dataset), *_attention(dataset), *_rec_ids(dataset, full), *_training(dataset)]
    differing = [variant for variant in candidates if variant.change(full) != full]
    beams = [Variant(f"{width} beams", "beam width", unchanged, width) for width in BEAM_WIDTHS]
    return [Variant(FULL, "", unchanged), *differing, *beams]


def unchanged(full: Recipe) -> Recipe:
    """The full recipe."""
    return full


def without_graph(full: Recipe) -> Recipe:
    """No propagation: an item is its content and its free embedding."""
    return with_graph(full, num_layers=0)


def bpr_for_softmax(full: Recipe) -> Recipe:
    """The paper's collaborative loss."""
    return with_graph(full, collaborative_loss="bpr")


def one_member(full: Recipe) -> Recipe:
    """A single graph encoder of the whole width, content fused."""
    return with_graph(full, members=("fused",), member_dim=full.graph.dim)


def joint_quantisation(full: Recipe) -> Recipe:
    """Graph and quantizer trained together; only one member can be. Beside it stands "one member"."""
    return with_graph(one_member(full), quantization="joint")


def without_modalities(*names: str) -> Change:
    """Features left out, on top of what the recipe leaves out anyway."""

    def change(full: Recipe) -> Recipe:
        return with_graph(full, without_modalities=tuple(sorted({*full.graph.without_modalities, *names})))

    return change


def with_content(content: Content) -> Change:
    """One use of the content in all members."""
    return lambda full: with_graph(full, members=(content,) * len(full.graph.members))


def with_attention(attention: Literal["absolute", "plain"]) -> Change:
    """An encoder without the relation-aware attention."""
    return lambda full: with_generator(full, attention=attention)


def without_sequence_encoder(full: Recipe) -> Recipe:
    """The history state is a weighted sum and nothing else."""
    return with_generator(full, num_sequence_layers=0)


def sequence_encoder_without_teacher(full: Recipe) -> Recipe:
    """It learns from what was held out alone."""
    return with_generator(full, sequence_teacher_weight=0.0)


def rec_ids_from(source: Literal["content", "random"]) -> Change:
    """Rec-IDs that know less. No floor of the codebooks: what they come to is the question."""
    return lambda full: with_rec_ids(full, source=source, min_code_usage=0.0)


def codebooks(num_levels: int, codebook_size: int) -> Change:
    """Levels and codes per level. No floor of the codebooks."""

    def change(full: Recipe) -> Recipe:
        if (full.rec_ids.num_levels, full.rec_ids.codebook_size) == (num_levels, codebook_size):
            return full
        return with_rec_ids(full, num_levels=num_levels, codebook_size=codebook_size, min_code_usage=0.0)

    return change


def without_popularity_token(full: Recipe) -> Recipe:
    """Codes alone name an item: every bucket holds one, so the token is always 0."""
    return with_rec_ids(full, bucket_bound=1)


def without_distillation(full: Recipe) -> Recipe:
    """No teacher of the generator: held-out items alone. The sequence encoder keeps one, the graph encoder alone."""
    return with_generator(full, teacher_weight=0.0, num_teacher_targets=0, **NO_CO_TEACHER)


def without_held_out_items(full: Recipe) -> Recipe:
    """The teacher alone, of the generator; the sequence encoder learns as before."""
    return with_generator(full, teacher_weight=1.0)


def without_co_teacher(full: Recipe) -> Recipe:
    """The graph encoder is the only teacher, of the sequence encoder as well."""
    return with_generator(full, **NO_CO_TEACHER)


def without_dense_term(full: Recipe) -> Recipe:
    """The generator's own order is served."""
    return replace(full, dense_weights=(0.0,))


def _graph() -> Iterator[Variant]:
    yield Variant("without graph", "graph", without_graph)
    yield Variant("BPR for softmax", "graph", bpr_for_softmax)
    yield Variant("one member", "graph", one_member)
    yield Variant("joint quantisation", "graph", joint_quantisation)


def _content(dataset: Dataset) -> Iterator[Variant]:
    modalities = sorted(dataset.features)
    if len(modalities) > 1:
        for name in modalities:
            yield Variant(f"without {name}", "content", without_modalities(name))
    if modalities:
        yield Variant("without any content", "content", without_modalities(*modalities))
    if modalities or any(item_texts(dataset.titles, dataset.categories)):
        yield Variant("content fused", "content", with_content("fused"))
        yield Variant("content aligned", "content", with_content("aligned"))


def _attention(dataset: Dataset) -> Iterator[Variant]:
    yield Variant("absolute positions", "attention", with_attention("absolute"))
    yield Variant("plain attention", "attention", with_attention("plain"))
    if dataset.has_time:
        yield Variant("without sequence encoder", "attention", without_sequence_encoder)
        yield Variant("sequence encoder untaught", "attention", sequence_encoder_without_teacher)


def _rec_ids(dataset: Dataset, full: Recipe) -> Iterator[Variant]:
    yield Variant("random Rec-IDs", "Rec-IDs", rec_ids_from("random"))
    yield Variant("Rec-IDs of content", "Rec-IDs", rec_ids_from("content"))
    yield Variant("without popularity token", "Rec-IDs", without_popularity_token)
    for levels in LEVELS:
        for size in CODEBOOK_SIZES:
            if fits(levels, size, dataset.num_items, full.rec_ids.bucket_bound):
                yield Variant(f"{levels}x{size} codes", "codebooks", codebooks(levels, size))


def fits(num_levels: int, codebook_size: int, num_items: int, bucket_bound: int) -> bool:
    """Whether there is room for all items in the buckets, and a first code has some items to stand for."""
    room: int = codebook_size**num_levels * bucket_bound
    return room >= num_items >= FEWEST_ITEMS_PER_CODE * codebook_size


def _training(dataset: Dataset) -> Iterator[Variant]:
    co_teacher = "transition counts" if dataset.has_time else "EASE"
    yield Variant("without distillation", "training", without_distillation)
    yield Variant("without held-out items", "training", without_held_out_items)
    yield Variant(f"without {co_teacher}", "training", without_co_teacher)
    yield Variant("without dense term", "serving", without_dense_term)


def with_graph(full: Recipe, **changes: object) -> Recipe:
    """The recipe with other graph settings."""
    graph: GraphSettings = replace(full.graph, **changes)  # type: ignore[arg-type]
    return replace(full, graph=graph)


def with_rec_ids(full: Recipe, **changes: object) -> Recipe:
    """The recipe with other Rec-ID settings."""
    rec_ids: RecIdSettings = replace(full.rec_ids, **changes)  # type: ignore[arg-type]
    return replace(full, rec_ids=rec_ids)


def with_generator(full: Recipe, **changes: object) -> Recipe:
    """The recipe with other generator settings."""
    generator: GeneratorSettings = replace(full.generator, **changes)  # type: ignore[arg-type]
    return replace(full, generator=generator)
