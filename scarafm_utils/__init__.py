"""scAraFM as a paper one can open, rerun and teach from.

Nothing is imported here: ``import scarafm_utils`` costs nothing, and each module brings
in torch, scanpy or xgboost only when a function needs them.
"""

__version__ = "0.1.0"
