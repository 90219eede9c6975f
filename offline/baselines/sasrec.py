"""SASRec with a softmax over all items (Kang & McAuley 2018, arXiv 1808.09781; loss as in arXiv 2309.07602).

Letters: B = users, H = history, D = dim, P = real positions of a batch, N = items.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offline.baselines.early_stopping import Stopping, train_in_rounds
from offline.baselines.peer import FloatArray, IntArray, Peer
from offline.baselines.ranking import validation_quality
from offline.dataset import Dataset, Histories, held_out_users

MOST_ITEMS = 50_000
"""A step costs the whole softmax; beyond this one epoch takes an hour on a core."""
LOGIT_BYTES = 384 * 2**20
"""What the logits of one training step may take."""
LEAST_ROUND_USERS = 2000
STOPPING = Stopping(most_rounds=60, patience=4, rounds_without_validation=20)


class SasRecModule(nn.Module):
    """Causal Transformer; pre-norm, positions counted from the newest item, output weights tied to the embedding."""

    def __init__(self, num_items: int, dim: int, num_layers: int, num_heads: int, length: int, dropout: float) -> None:
        super().__init__()
        self.items = nn.Embedding(num_items, dim)
        self.positions = nn.Embedding(length, dim)
        for table in (self.items, self.positions):
            nn.init.normal_(table.weight, std=0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                dim, num_heads, dim, dropout, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, history: Tensor) -> Tensor:
        """States [B, H, D] of histories int64 [B, H]: newest at the right end, -1 = empty place on the left."""
        length = history.shape[1]
        places = torch.arange(length - 1, -1, -1)
        state = self.dropout(self.items(history.clamp(min=0)) * self.items.embedding_dim**0.5 + self.positions(places))
        later = torch.ones(length, length).triu(1).bool()
        closed = later | (history < 0).unsqueeze(1)  # [B, H, H]
        closed &= ~torch.eye(length).bool()  # an empty place sees itself, so that its softmax is defined
        heads = self.layers[0].self_attn.num_heads  # type: ignore[union-attr]
        for layer in self.layers:
            state = layer(state, src_mask=closed.repeat_interleave(heads, 0))  # type: ignore[arg-type]
        normed: Tensor = self.norm(state)
        return normed

    def logits(self, states: Tensor) -> Tensor:
        """[P, N] of states [P, D]."""
        return states @ self.items.weight.T


@dataclass(kw_only=True)
class SasRec(Peer):
    """Next item after every prefix of a training sequence.

    Attributes:
        dim, num_layers, num_heads, length, dropout: sizes; a history keeps its newest `length` items.
        learning_rate, batch_users: of Adam.
        rounds: those of the best round, set by `fit`.
    """

    dim: int = 64
    num_layers: int = 2
    num_heads: int = 2
    length: int = 50
    dropout: float = 0.4
    learning_rate: float = 1e-3
    batch_users: int = 128
    rounds: int = field(default=0, init=False)

    gives_log_probs = True

    def fit(self, dataset: Dataset, *, seed: int) -> None:
        """Train until validation stops improving."""
        histories = dataset.histories("valid")  # train, each item once
        users = np.flatnonzero(np.diff(histories.offsets) >= 2)
        random = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._module = SasRecModule(
                dataset.num_items, self.dim, self.num_layers, self.num_heads, self.length, self.dropout
            )
            optimizer = torch.optim.Adam(self._module.parameters(), self.learning_rate)

            def one_round() -> float:
                self._module.train()
                losses = [self._step(optimizer, batch) for batch in self._batches(histories, users, random, dataset)]
                self._module.eval()
                return float(np.mean(losses)) if losses else 0.0

            judge = len(held_out_users(dataset, "valid")) > 0
            quality = (lambda: validation_quality(self, dataset)) if judge else None
            self.rounds = train_in_rounds(self._module, one_round, quality, STOPPING)
        self._module.eval()

    @torch.no_grad()
    def scores(self, histories: Histories, users: IntArray) -> FloatArray:
        """Log-probabilities of the next item: [B, N]."""
        last = self._module(_newest(histories, users, self.length))[:, -1]
        return self._module.logits(last).log_softmax(dim=1).numpy()

    def _batches(
        self, histories: Histories, users: IntArray, random: np.random.Generator, dataset: Dataset
    ) -> Iterator[Tensor]:
        """Batches of similar lengths, in random order, their logits within `LOGIT_BYTES`; few users come repeatedly."""
        most = max(1, LOGIT_BYTES // (4 * dataset.num_items * self.length))
        size = min(self.batch_users, most)
        if not len(users):
            return
        rows = np.concatenate([random.permutation(users) for _ in range(-(-LEAST_ROUND_USERS // len(users)))])
        chunks = [rows[start : start + 16 * size] for start in range(0, len(rows), 16 * size)]
        lengths = np.diff(histories.offsets)
        for chunk in chunks:
            by_length = chunk[np.argsort(lengths[chunk], kind="stable")]
            starts = random.permutation(range(0, len(by_length), size))
            for start in starts:
                yield _newest(histories, by_length[start : start + size], self.length + 1)

    def _step(self, optimizer: torch.optim.Optimizer, batch: Tensor) -> float:
        inputs, targets = batch[:, :-1], batch[:, 1:]
        real = inputs >= 0
        loss = F.cross_entropy(self._module.logits(self._module(inputs)[real]), targets[real])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()


def _newest(histories: Histories, users: IntArray, most: int) -> Tensor:
    """The newest `most` items of users, right-aligned, -1 = empty: int64 [B, longest of them, at least 1]."""
    starts, ends = histories.offsets[users], histories.offsets[users + 1]
    width = int(np.clip((ends - starts).max(initial=1), 1, most))
    at = ends[:, None] - np.arange(width, 0, -1)
    items = np.append(histories.items, -1)
    return torch.from_numpy(items[np.where(at >= starts[:, None], at, len(items) - 1)])
