"""What can be computed, by name: representations, heads, and the function behind each.

A new one is a function and a line here; CONTRIBUTING.md shows both.
"""

#: The paper's eight.
REPRESENTATIONS = ("raw", "CLS", "WM", "ENS", "PCA_1", "PCA_2", "PCA_3", "CNN")
#: Features that need no encoder, and the function of `plain_features` that learns each.
PLAIN = {
    "raw": "learn_raw",
    "binned": "learn_binned",
    "hvg_pca": "learn_hvg_pca",
    "depth": "learn_depth",
    "cell_type": "learn_cell_type",
}
#: Summaries of the encoder's output, and the function of `embeddings` that computes each.
POOLED = {
    "CLS": "cls_token",
    "WM": "weighted_mean",
}
#: Heads, and the class or function of `estimators` (of `cnn` for CNN) behind each.
HEADS = {
    "LR": "LRHead",
    "XGB": "XGBHead",
    "MLP": "MLPHead",
    "CNN": "CNNHead",
}
ENCODED = (*POOLED, "ENS", "PCA_1", "PCA_2", "PCA_3", "CNN")  # whatever needs an encoder
ENCODERS = ("untrained", "shuffled")  # prefixes: the same representation from another encoder
OTHER_ENCODER = tuple(f"{encoder}:{name}" for encoder in ENCODERS for name in ENCODED)
FEATURES = tuple(dict.fromkeys((*REPRESENTATIONS, *PLAIN, *ENCODED, *OTHER_ENCODER)))
