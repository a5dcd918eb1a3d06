"""A task: one split protocol on one data set, or from one data set to another."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import InputError, suggest

PROTOCOLS = ("random", "replicate", "cross")


@dataclass(frozen=True)
class Task:
    """One split protocol on one data set, or from one data set to another."""

    protocol: str
    train_dataset: str
    test_dataset: str

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets involved, source first, each once."""
        return tuple(dict.fromkeys((self.train_dataset, self.test_dataset)))

    @property
    def name(self) -> str:
        """As written in profiles and tables, e.g. ``cross:GSE273033:ERP132245``."""
        return ":".join((self.protocol, *self.datasets))

    @property
    def slug(self) -> str:
        """As written in file names and page addresses, e.g. ``cross-GSE273033-ERP132245``."""
        return self.name.replace(":", "-")


def parse_task(text: str) -> Task:
    """Read ``random:A``, ``replicate:A`` or ``cross:A:B`` (source, target).

    >>> parse_task("cross:GSE273033:ERP132245").slug
    'cross-GSE273033-ERP132245'

    Raises
    ------
    InputError
        Where the protocol is not known or the data sets are too few, too many or the same.
    """
    protocol, *datasets = str(text).split(":")
    if protocol not in PROTOCOLS:
        hint = suggest(protocol, PROTOCOLS)
        raise InputError(f"task '{text}': protocol '{protocol}' is not known, {hint}.")
    shape = "cross:SOURCE:TARGET" if protocol == "cross" else f"{protocol}:DATASET"
    if len(datasets) != (2 if protocol == "cross" else 1) or not all(datasets):
        raise InputError(f"task '{text}': write it as {shape}.")
    if protocol == "cross" and datasets[0] == datasets[1]:
        raise InputError(f"task '{text}': source and target are the same data set; use random:{datasets[0]}.")
    return Task(protocol, datasets[0], datasets[-1])
