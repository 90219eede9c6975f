"""The public datasets that `fetch` builds: where they come from, on what terms, and how they become a folder."""

from dataclasses import dataclass, field
from typing import Final

from offline.importing.downloads import WebFile
from offline.importing.formats.layout import FormatName
from offline.importing.log_steps import LogFilters

_MIB: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class PublicDataset:
    """One dataset."""

    name: str
    home: str
    """Page of those who give it out."""
    terms: str
    files: tuple[WebFile, ...]
    unpacked: tuple[str, ...] = ()
    """Files inside of the archive, the log first; () where the files are no archive."""
    format: FormatName
    filters: LogFilters = field(default_factory=LogFilters)
    only_tagged: bool = False
    """Leave out items without categories."""


_GROUPLENS: Final = "https://files.grouplens.org/datasets"
_AMAZON: Final = "http://snap.stanford.edu/data/amazon/productGraph/categoryFiles"

LASTFM_2K: Final = PublicDataset(
    name="lastfm-2k",
    home="https://grouplens.org/datasets/hetrec-2011/",
    terms="Last.fm 2K of HetRec 2011 (hetrec2011-lastfm-2k). The data is made available for non-commercial use. Those "
    "who want to use it or the web services in a commercial context are asked to contact partners@last.fm; Last.fm's "
    "terms of service hold. Publications cite: I. Cantador, P. Brusilovsky, T. Kuflik, 2nd Workshop on Information "
    "Heterogeneity and Fusion in Recommender Systems (HetRec 2011), RecSys 2011.",
    files=(
        WebFile(
            name="hetrec2011-lastfm-2k.zip",
            url=f"{_GROUPLENS}/hetrec2011/hetrec2011-lastfm-2k.zip",
            most_bytes=64 * _MIB,
            sha256="6738f48195667ff03caaab4d32ca9a3133d8cc026b7c3cdaf6ce1010e913c59c",
        ),
    ),
    unpacked=("user_artists.dat", "artists.dat", "tags.dat", "user_taggedartists.dat"),
    format="lastfm",
    filters=LogFilters(k_core=(2, 5), unknown_items="drop"),
    only_tagged=True,
)

MOVIELENS_100K: Final = PublicDataset(
    name="movielens-100k",
    home="https://grouplens.org/datasets/movielens/100k/",
    terms="MovieLens 100K of GroupLens, University of Minnesota. It may be used for research. You may not state or "
    "imply any endorsement by the University or GroupLens, must acknowledge the use in publications, may not "
    "redistribute it without separate permission, and may not use it for commercial or revenue-bearing "
    "purposes without permission of a faculty member of GroupLens. Publications cite: F. M. Harper, J. A. Konstan, "
    "The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015.",
    files=(
        WebFile(
            name="ml-100k.zip",
            url=f"{_GROUPLENS}/movielens/ml-100k.zip",
            most_bytes=64 * _MIB,
            sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        ),
    ),
    unpacked=("u.data", "u.item"),
    format="movielens",
)

AMAZON_BEAUTY: Final = PublicDataset(
    name="amazon-beauty",
    home="https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html",
    terms="Amazon product data 2014, Beauty, 5-core (J. McAuley, UCSD). It comes without a licence of its own, for "
    "research; reviews and product texts belong to their authors and to Amazon. Publications cite: J. McAuley, "
    "C. Targett, J. Shi, A. van den Hengel, Image-based recommendations on styles and substitutes, SIGIR 2015; "
    "R. He, J. McAuley, Ups and downs, WWW 2016.",
    files=(
        WebFile(name="reviews_Beauty_5.json.gz", url=f"{_AMAZON}/reviews_Beauty_5.json.gz", most_bytes=512 * _MIB),
        WebFile(name="meta_Beauty.json.gz", url=f"{_AMAZON}/meta_Beauty.json.gz", most_bytes=1024 * _MIB),
    ),
    format="amazon",
    filters=LogFilters(k_core=(5, 5), split="leave-one-out"),
)

PUBLIC_DATASETS: Final = {dataset.name: dataset for dataset in (LASTFM_2K, MOVIELENS_100K, AMAZON_BEAUTY)}
