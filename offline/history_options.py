"""Flags of how much of a user is kept; the service has them as settings, and both should agree."""

from typing import Annotated

import typer

SeenCap = Annotated[
    int, typer.Option(min=1, metavar="<n>", envvar="MMGREC_SEEN_CAP", help="Most seen items per user, the newest.")
]
HistoryTtl = Annotated[
    int,
    typer.Option(
        "--history-ttl",
        min=0,
        metavar="<n>",
        envvar="MMGREC_HISTORY_TTL_SECONDS",
        help="Histories end so many seconds after their last change; 0 for never.",
    ),
]
SeenTtl = Annotated[
    int,
    typer.Option(
        "--seen-ttl",
        min=0,
        metavar="<n>",
        envvar="MMGREC_SEEN_TTL_SECONDS",
        help="Seen items end so many seconds after the last change; 0 for never.",
    ),
]
