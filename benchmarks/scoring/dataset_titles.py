"""What datasets are called in a report: folders of other content may have one name."""

from collections import Counter
from collections.abc import Mapping


def titles(names: Mapping[str, str]) -> dict[str, str]:
    """The name of every dataset; where several are called the same, the key of each.

    Args:
        names: key to name. A key is `dataset_key` of it, so that folders of one name and one content are one dataset.
    """
    called = Counter(names.values())
    return {key: name if called[name] == 1 else key for key, name in names.items()}


def dataset_key(name: str, sha256: str) -> str:
    """A name that two folders of other content do not share: `lastfm-2k-be5c6d41`."""
    return f"{name}-{sha256[:8]}"
