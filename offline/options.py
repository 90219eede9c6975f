"""The flags that several jobs have, alike in all of them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from service.contract.history_scripts import MOST_TTL_SECONDS

Data = Annotated[Path, typer.Option("--data", help="Dataset folder (interactions.parquet, items.parquet, features/).")]
Run = Annotated[Path, typer.Option("--run", help="Folder of the run: checkpoints, ONNX, metrics.")]
Home = Annotated[
    Path, typer.Option("--home", envvar="MMGREC_HOME", help="Folder of the private Redis; unused with another Redis.")
]
RedisUrl = Annotated[
    str | None,
    typer.Option("--redis-url", envvar="MMGREC_REDIS_URL", help="Redis to use instead of the private server."),
]
Namespace = Annotated[
    str, typer.Option("--namespace", envvar="MMGREC_NAMESPACE", help="Prefix of every Redis key; one per catalogue.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of splits, weights and sampling.")]
RecipeName = Annotated[
    Literal["tiny", "standard", "paper"],
    typer.Option(
        "--recipe",
        help="tiny: small sizes, a minute. standard: sizes follow the data, minutes. paper: MMGRec as published.",
    ),
]
WarmStart = Annotated[
    Path | None,
    typer.Option("--warm-start", help="Finished run to start from: items keep their Rec-IDs, fewer steps are needed."),
]
Accumulate = Annotated[
    int,
    typer.Option(
        "--accumulate",
        min=1,
        metavar="<n>",
        help="Cut every batch into so many parts, one after the other: less memory, the same result.",
    ),
]
CanaryShare = Annotated[
    float | None, typer.Option("--share", help="Share of the users that a canary gets, such as 0.1.")
]
TrainingDevice = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(
        "--device",
        envvar="MMGREC_TRAINING_DEVICE",
        help="Where to train; auto: on a CUDA device where there is one. The CPU alone gives the same weights again.",
    ),
]
BlobsUrl = Annotated[
    str,
    typer.Option(
        "--blobs-url",
        envvar="MMGREC_BLOBS_URL",
        help="Where the chunks of releases are: redis, a folder, or a URL such as s3://bucket/x (extra: blobs).",
    ),
]
SigningKeyFile = Annotated[
    Path | None,
    typer.Option(
        "--signing-key-file",
        envvar="MMGREC_SIGNING_KEY_FILE",
        help="File with the key that signs releases; or the variable MMGREC_SIGNING_KEY holds it.",
    ),
]
VerificationKeysFile = Annotated[
    Path | None,
    typer.Option(
        "--verification-keys-file",
        envvar="MMGREC_VERIFICATION_KEYS_FILE",
        help="File with keys, one of which must have signed it; or the variable MMGREC_VERIFICATION_KEYS holds them.",
    ),
]
ArmName = Annotated[
    Literal["main", "canary"],
    typer.Option("--arm", help="main: all users but the canary's. canary: a share of the users."),
]
SeenCap = Annotated[
    int, typer.Option(min=1, metavar="<n>", envvar="MMGREC_SEEN_CAP", help="Most seen items per user, the newest.")
]
HistoryTtl = Annotated[
    int,
    typer.Option(
        "--history-ttl",
        min=0,
        max=MOST_TTL_SECONDS,
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
        max=MOST_TTL_SECONDS,
        metavar="<n>",
        envvar="MMGREC_SEEN_TTL_SECONDS",
        help="Seen items end so many seconds after the last change; 0 for never.",
    ),
]
