"""The causes of the simulated compendium and their sizes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import inf

from .errors import InputError

#: Effects that are shares, from 0 to 1.
SHARES = ("module_gene_share", "stress_gene_share", "responding", "ambient")


@dataclass(frozen=True)
class Effects:
    """Sizes of the causes; unless said otherwise standard deviations per gene of natural logs.

    The defaults are the recommended world.  Setting a cause to 0 removes it: with `library`,
    `replicate`, `lab` and `private` at 0 the three protocols are equally hard.

    Attributes
    ----------
    library
        One library against another; scales `module` and the organelles' share too.
    module
        Standard deviation, in units of `library`, of the common score by which all genes of a
        module ("protoplasting" genes, "soup" of broken cells) move together in a library.
    module_gene_share
        Share of the genes in each module.
    replicate, lab, genotype
        Effects common to all libraries of a replicate, of a data set, of a genotype but the first.
    shared, private
        The stress programme common to all studies of the stress in the tissue; that of one study.
    stress_gene_share
        Share of the genes in the shared programme, and in the private one.
    responding
        Largest share of responding cells of a stressed sample; a cell type's share is this times
        a weight between .3 and 1.
    cell_type
        Cell-type programme: 1 gives each gene the dispersion fitted to real nuclei (a median
        standard deviation of 1), 0 makes all cell types alike.
    composition
        Log standard deviation of cell-type proportions between samples.
    ambient
        Mean share of a sample's counts that come from its average cell.
    nb_size
        Size of the negative binomial: variance = m + m^2 / nb_size.
    counts
        Median counts per cell on the nuclear loci.
    count_spread
        Spread of library sizes within a sample, in units of the fitted one.
    depth
        Log standard deviation of library sizes between samples.  Real samples have about .4
        (`simulation_fit.json`); it is off by default because it would be one more cause that makes
        a random split easy.
    """

    library: float = 0.25
    module: float = 2.0
    module_gene_share: float = 0.015
    replicate: float = 0.2
    lab: float = 0.4
    genotype: float = 0.2
    shared: float = 0.8
    private: float = 1.2
    stress_gene_share: float = 0.15
    responding: float = 0.8
    cell_type: float = 1.0
    composition: float = 0.2
    ambient: float = 0.1
    nb_size: float = 2.0
    counts: float = 1000.0
    count_spread: float = 1.0
    depth: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            top = 1 if name in SHARES else inf
            if not 0 <= value <= top or (value == 0 and name in ("nb_size", "counts")):
                allowed = "from 0 to 1" if name in SHARES else "0 or more (nb_size and counts: above 0)"
                raise InputError(f"Effects: {name} = {value}: it must be {allowed}.")
