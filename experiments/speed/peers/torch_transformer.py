"""The transformer of the comparisons in PyTorch: next words, attention by its fused kernel, W_Q, W_K, W_V in one."""

from typing import Any

import torch
from torch.nn import functional

from experiments.speed.peers.torch_models import Arrays, Loss

OF_LAYER = ("W_QKV", "W_O", "W_1", "W_2")


def weights(arrays: Arrays) -> list[torch.Tensor]:
    """E, P, U, then OF_LAYER of every layer."""
    start = {name.removeprefix("start."): array for name, array in arrays.items() if name.startswith("start.")}
    start["W_QKV"] = torch.cat([start[name] for name in ("W_Q", "W_K", "W_V")], dim=1)
    layers = range(len(start["W_O"]))
    of_layers = [start[name][layer].clone() for layer in layers for name in OF_LAYER]
    return [start["E"], start["P"], start["U"], *of_layers]


def loss(heads: int) -> Loss:
    """A function of (weights, words, next words): the mean cross-entropy of the predicted next words."""

    def normed(x: Any) -> Any:
        return functional.layer_norm(x, x.shape[-1:])

    def of(weights: list[torch.Tensor], inputs_NxL: Any, targets_NxL: Any) -> Any:
        E, P, U, *of_layers = weights
        n, length = inputs_NxL.shape
        x = functional.embedding(inputs_NxL, E) + P[None, :length]
        for first in range(0, len(of_layers), len(OF_LAYER)):
            W_QKV, W_O, W_1, W_2 = of_layers[first : first + len(OF_LAYER)]
            parts = functional.linear(normed(x), W_QKV).split(x.shape[-1], dim=-1)
            q, k, v = (part.view(n, length, heads, -1).transpose(1, 2) for part in parts)
            read = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + functional.linear(read.transpose(1, 2).reshape(n, length, -1), W_O)
            x = x + functional.linear(functional.gelu(functional.linear(normed(x), W_1), approximate="tanh"), W_2)
        logits = functional.linear(normed(x), U)
        return functional.cross_entropy(logits.flatten(0, 1), targets_NxL.flatten())

    return of
