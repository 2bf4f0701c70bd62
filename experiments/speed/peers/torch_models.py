"""The models of the comparisons in PyTorch: losses of weights, as its users would write them."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional

Arrays = Mapping[str, torch.Tensor]
Loss = Callable[..., torch.Tensor]
NAMES = ("W_Q", "W_K", "W_V", "W")


def by_one_hot(arrays: Arrays) -> Loss:
    """Equation (1) of the first paper on one-hot words, all samples at once: the loss of W_Q, W_K, W_V and W."""
    X_NxLxD = functional.one_hot(arrays["inputs"], arrays["start.W_Q"].shape[1]).to(torch.float64)
    y, a_J = arrays["targets"], arrays["a"]

    def loss(W_Q_MxD: Any, W_K_MxD: Any, W_V_MxD: Any, W_JxM: Any) -> Any:
        queries_NxQxM, keys_NxKxM, values_NxKxM = (
            torch.einsum("nld,md->nlm", X_NxLxD, W_MxD) for W_MxD in (W_Q_MxD, W_K_MxD, W_V_MxD)
        )
        scores_NxKxQ = torch.einsum("nkm,nqm->nkq", keys_NxKxM, queries_NxQxM) / math.sqrt(W_Q_MxD.shape[0])
        read_NxQxM = torch.einsum("nkm,nkq->nqm", values_NxKxM, torch.softmax(scores_NxKxQ, dim=1))
        output_N = torch.einsum("j,jm,nqm->n", a_J, W_JxM, read_NxQxM)
        return functional.softplus(-y * output_N).mean()

    return loss


def by_table(arrays: Arrays) -> Loss:
    """The same loss by tables over words, as ours: scores are looked up in W_Kᵀ W_Q, and values in aᵀ W W_V."""
    of_table, a_J = by_gram(arrays), arrays["a"]

    def loss(W_Q_MxD: Any, W_K_MxD: Any, W_V_MxD: Any, W_JxM: Any) -> Any:
        return of_table(W_K_MxD.T @ W_Q_MxD, (a_J @ W_JxM) @ W_V_MxD)

    return loss


def by_words(arrays: Arrays) -> Loss:
    """The same loss for many words, where the weights of words are embeddings [d, m].

    It takes the tokens of some samples, and gives their part of the mean over all samples.
    """
    samples, a_J = len(arrays["targets"]), arrays["a"]

    def loss(W_Q_DxM: Any, W_K_DxM: Any, W_V_DxM: Any, W_JxM: Any, tokens_NxL: Any, y_N: Any) -> Any:
        queries_NxQxM, keys_NxKxM = (functional.embedding(tokens_NxL, W_DxM) for W_DxM in (W_Q_DxM, W_K_DxM))
        scores_NxQxK = queries_NxQxM @ keys_NxKxM.mT / math.sqrt(W_Q_DxM.shape[1])
        values_NxK = (W_V_DxM @ (a_J @ W_JxM))[tokens_NxL]
        output_N = (torch.softmax(scores_NxQxK, dim=2) * values_NxK[:, None]).sum((1, 2))
        return functional.softplus(-y_N * output_N).sum() / samples

    return loss


def by_gram(arrays: Arrays) -> Loss:
    """The loss as a function of A = W_Kᵀ W_Q and G = aᵀ W W_V."""
    tokens, y, m = arrays["inputs"], arrays["targets"], arrays["start.W_Q"].shape[0]

    def loss(A_DxD: Any, G_D: Any) -> Any:
        scores_NxKxQ = A_DxD[tokens[:, :, None], tokens[:, None, :]] / math.sqrt(m)
        output_N = (torch.softmax(scores_NxKxQ, dim=1) * G_D[tokens][:, :, None]).sum((1, 2))
        return functional.softplus(-y * output_N).mean()

    return loss


def gram_velocity(arrays: Arrays) -> tuple[list[torch.Tensor], Callable[..., tuple[torch.Tensor, ...]]]:
    """The flow of one head in Gram variables A, G, S, C_V, C_K, C_Q: their values at the start, and their velocity."""
    W_Q, W_K, W_V, W = (arrays[f"start.{name}"] for name in NAMES)
    u, m1 = arrays["a"] @ W, W.shape[0]
    start = [W_K.T @ W_Q, u @ W_V, u @ u, W_V.T @ W_V, W_K.T @ W_K, W_Q.T @ W_Q]
    slope = slopes(by_gram(arrays))

    def velocity(A: Any, G: Any, S: Any, C_V: Any, C_K: Any, C_Q: Any) -> tuple[torch.Tensor, ...]:
        M, z = slope(A, G)
        of_C_V, of_C_K, of_C_Q = torch.outer(z, G), M @ A.T, M.T @ A
        return (
            C_K @ M + M @ C_Q,
            S * z + m1 * (C_V @ z),
            2 * m1 * (G @ z),
            of_C_V + of_C_V.T,
            of_C_K + of_C_K.T,
            of_C_Q + of_C_Q.T,
        )

    return start, velocity


def slopes(loss: Loss) -> Callable[..., tuple[torch.Tensor, ...]]:
    """−∇L by PyTorch, for each of the arguments of a loss."""

    def slope(*state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.enable_grad():
            leaves = [matrix.detach().requires_grad_() for matrix in state]
            return tuple(-one for one in torch.autograd.grad(loss(*leaves), leaves))

    return slope


def stepped(loss: Loss, eta: float) -> Callable[..., tuple[torch.Tensor, ...]]:
    """One step of gradient descent as a function of the weights, for torch.compile as a whole."""

    def step(*weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
        gradients = torch.func.grad(loss, tuple(range(len(weights))))(*weights)
        return tuple(matrix - eta * gradient for matrix, gradient in zip(weights, gradients, strict=True))

    return step
