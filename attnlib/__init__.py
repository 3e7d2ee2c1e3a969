"""attnlib: the numbers of the book "Why does attention divide by √d_k?".

Each module holds one idea, in the order in which the chapters need them.
The numerical ones need numpy and scipy alone (and tqdm for progress bars);
`attnlib.random_energy` and `attnlib.retrieval` are imported by name where
they are used. What a chapter needs beside the numbers (the ledger,
exercises, figures, data) is in `attnlib.book`, which also needs matplotlib,
sympy and pyyaml.
"""

__version__ = "0.2.0"

from attnlib.attention import (
    attention_weights,
    default_scale,
    dot_product_scores,
    masked_scores,
    masked_softmax,
    scaled_dot_product_attention,
    scaled_dot_product_attention_vjp,
)
from attnlib.concentration import (
    entropy,
    inverse_participation_ratio,
    jacobian_norm,
    jacobian_trace,
    max_weight,
)
from attnlib.dot_product import (
    dot_product_density,
    dot_product_excess_kurtosis,
    dot_product_variance,
)
from attnlib.layers import (
    embed,
    merge_heads,
    multi_head_attention,
    multi_head_attention_vjp,
    project,
    split_heads,
)
from attnlib.montecarlo import sample_logits, sweep
from attnlib.softmax import (
    log_softmax,
    softmax,
    softmax_jacobian,
    softmax_vjp,
)
from attnlib.variants import (
    inverse_width_weights,
    length_scaled_weights,
    qk_norm_weights,
    sigmoid_weights,
    sink_weights,
    soft_capped_weights,
)

__all__ = [
    "attention_weights",
    "default_scale",
    "dot_product_density",
    "dot_product_excess_kurtosis",
    "dot_product_scores",
    "dot_product_variance",
    "embed",
    "entropy",
    "inverse_participation_ratio",
    "inverse_width_weights",
    "jacobian_norm",
    "jacobian_trace",
    "length_scaled_weights",
    "log_softmax",
    "masked_scores",
    "masked_softmax",
    "max_weight",
    "merge_heads",
    "multi_head_attention",
    "multi_head_attention_vjp",
    "project",
    "qk_norm_weights",
    "sample_logits",
    "scaled_dot_product_attention",
    "scaled_dot_product_attention_vjp",
    "sigmoid_weights",
    "sink_weights",
    "soft_capped_weights",
    "softmax",
    "softmax_jacobian",
    "softmax_vjp",
    "split_heads",
    "sweep",
]
