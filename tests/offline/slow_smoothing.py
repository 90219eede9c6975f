"""The slow and obvious way to smooth the context of an item with those of its neighbours."""

import torch
import torch.nn.functional as F
from torch import Tensor


def slow_smoothed(keys: Tensor, contexts: Tensor, known: list[bool], share: float, item: int) -> Tensor:
    others = [other for other in range(len(keys)) if known[other] and other != item]
    if not others:
        return contexts[item]
    count = min(10, max(1, sum(known) - 1))
    relative = (keys - keys[known].mean(0)) / keys[known].std(0, correction=0).clamp(min=1e-6)
    nearest = sorted(others, key=lambda other: -float(F.cosine_similarity(relative[item], relative[other], dim=0)))
    nearest = nearest[:count]
    mean = torch.stack([contexts[other] for other in nearest]).mean(0)
    return (1 - share) * contexts[item] + share * mean if known[item] else mean
