"""A laboratory for transformer training dynamics.

Symbols: d words in the vocabulary, m the width of queries, keys and values, m1 neurons of the MLP, H heads, L words in
a sample, n samples; W_Q, W_K, W_V [H m, d] and W [m1, m] train, a [m1] is fixed; F the output, y = ±1 the label,
g = 1/(1 + exp(y F)); G(μ) = aᵀ W W_V μ. Time is t = η·k, with η the step and k the number of steps.

Axis letters in names: N samples, L positions, K keys, Q queries, T times (or types, in tasks and probes), X layers,
H heads, D words, M the width, E its share of a head, J neurons.
"""

import lazy_loader

from dynamics.environment import prepare

prepare()

# The public names are listed in __init__.pyi, where type checkers read them too; each is imported at its first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
