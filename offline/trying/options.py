"""The flags that `try` has beside those of `import`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Log = Annotated[
    str,
    typer.Argument(
        help="The log: a CSV or Parquet file, a folder of parts, a URL, or a dataset folder that is there already."
    ),
]
Keep = Annotated[Path | None, typer.Option("--data", help="Folder for the dataset; without it, one below --home.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the dataset in --data.")]
Quick = Annotated[bool, typer.Option("--quick", help="Leave out SASRec, the slowest of the peers.")]
TryRecipe = Annotated[
    Literal["tiny", "standard"],
    typer.Option("--recipe", help="tiny: a minute, to see how it goes. standard: what MMGRec can do."),
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="File for table and verdict as JSON.")]
NoServe = Annotated[bool, typer.Option("--no-serve", help="End with table and verdict.")]
Check = Annotated[bool, typer.Option("--check", help="Stop after the first answer; last line is JSON.")]
Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="First port to try; a taken one moves up.")]
