"""The job `import`: a source into a dataset folder, whole or as what is new since the last time."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from offline import progress
from offline.dataset_checks import INTERACTIONS_FILE, ITEMS_FILE
from offline.errors import BadInputError
from offline.importing import item_tables
from offline.importing.carried_features import carry_features, write_features
from offline.importing.dataset_folder import FolderBuild, folder_build
from offline.importing.finished_folder import check_finished, write_interactions
from offline.importing.formats.layout import Layout
from offline.importing.import_record import RECORD_FILE, ImportRecord
from offline.importing.import_request import ImportRequest, as_before, last_import
from offline.importing.log_steps import LATE, KeptLog, keep_rows
from offline.importing.source_files import shown
from offline.importing.sources import Understood, understand
from offline.importing.staging import LogReading, StagedLog, stage_log
from offline.importing.watermark import NewerRows


def run_import(request: ImportRequest) -> dict[str, Any]:
    """Import a source; the dataset folder is replaced whole, or stays as it was.

    Returns:
        What a job prints: rows read, kept and dropped, users, items, the watermark.

    Raises:
        BadInputError: anything about the source, the options or the folder.
        LockedError: another import into this folder runs, or a job that holds its events.
        JobError: the disk is full.
    """
    with folder_build(request.folder) as build:  # before anything is read there: a killed import is mended first
        old = last_import(request)
        if old is not None:
            request = as_before(request, old)
        result = _Import(request, build, old).run()
        build.publish()
        return result


class _Import:
    def __init__(self, request: ImportRequest, build: FolderBuild, old: ImportRecord | None) -> None:
        self._request, self._build, self._old = request, build, old
        self._scratch = build.scratch

    def run(self) -> dict[str, Any]:
        request = self._request
        understood = understand(request.source)
        layout = understood.layout
        table = self._item_table(layout)
        staged = stage_log(
            layout.log,
            LogReading(
                mapping=layout.mapping,
                time_format=request.time_format,
                drop_bad_rows=request.filters.drop_bad_rows,
                split_names=layout.split_names,
                prefixes=layout.prefixes,
            ),
            self._scratch,
        )
        if not staged.spool.height and self._old is None:  # an empty night is none to be refused
            raise BadInputError(f"{shown(request.source.log)}: holds no interactions; name a log that has rows")
        self._require_same_fields(staged)
        kept = self._kept(staged, table, layout)
        if not kept.spool.height and self._old is None:
            said = ", ".join(f"{count} {reason}" for reason, count in kept.dropped.items())
            raise BadInputError(
                f"{shown(request.source.log)}: nothing is left of {staged.spool.height} interactions ({said}); ask for "
                "less"
            )
        return self._write(understood, staged, kept, table)

    def _item_table(self, layout: Layout) -> pl.DataFrame | None:
        """The items of the source and, in an incremental import, of the folder; None where there are none."""
        new = None
        if layout.items is not None:
            new = layout.items(self._scratch)
            if "item_id" in layout.prefixes:
                prefixed = pl.lit(layout.prefixes["item_id"]) + pl.col("item_id")
                new = new.with_columns(prefixed.alias("item_id"))
            if self._request.only_categorised and "categories" in new.columns:
                new = new.filter(pl.col("categories").list.len() > 0)
            item_tables.check_ids(new, layout.items_name, "item_id")
            new = item_tables.distinct_items(new, layout.items_name, drop_bad_rows=self._request.filters.drop_bad_rows)
        if self._old is None:
            return new
        known = pl.read_parquet(self._build.target / ITEMS_FILE, glob=False, hive_partitioning=False)
        return known if new is None else item_tables.merged_items(known, new)

    def _require_same_fields(self, staged: StagedLog) -> None:
        if self._old is not None and set(staged.fields) != set(self._old.mapping):
            raise BadInputError(
                f"--since-watermark: this log has the fields {', '.join(staged.fields)}, the last import had "
                f"{', '.join(self._old.mapping)}; give the same by --map, or import the whole log with --overwrite"
            )

    def _kept(self, staged: StagedLog, table: pl.DataFrame | None, layout: Layout) -> KeptLog:
        newer, unit = None, self._request.time_unit
        if self._old is not None and self._old.watermark is not None:
            newer = NewerRows(self._build.target, self._old.watermark)
        known = None if table is None else table["item_id"]
        filters = self._request.filters
        if layout.features and filters.unknown_items is None:  # the arrays say how many items there are
            filters = replace(filters, unknown_items="refuse")
        kept = keep_rows(staged, filters, self._scratch, time_unit=unit, known_items=known, newer=newer)
        if self._old is not None and (late := kept.dropped[LATE]):
            progress.say(
                f"warning: {late} rows are older than the newest row of the last import ({self._old.watermark} ms) and "
                f"not in {self._request.folder}: they came late and are left out; to have them, import the whole log "
                "with --overwrite"
            )
        return kept

    def _write(
        self, understood: Understood, staged: StagedLog, kept: KeptLog, table: pl.DataFrame | None
    ) -> dict[str, Any]:
        new, old = self._build.new, self._build.target if self._old is not None else None
        num_rows = write_interactions(kept.spool, new / INTERACTIONS_FILE, old)
        log_ids = (
            pl.scan_parquet(new / INTERACTIONS_FILE, glob=False, hive_partitioning=False)
            .select("item_id")
            .unique()
            .collect(engine="streaming")
            .to_series()
        )
        only_interacted = self._old is None and (
            self._request.only_interacted or self._request.filters.k_core is not None
        )
        catalogue = item_tables.catalogue(
            item_tables.EMPTY_ITEMS if table is None else table, log_ids, only_interacted=only_interacted
        )
        catalogue.items.write_parquet(new / ITEMS_FILE)
        features = self._features(understood.layout, table, catalogue.items["item_id"])
        result = {
            "dataset": self._build.target.name,
            "format": understood.layout.format,
            "mapping": dict(understood.layout.mapping),
            "read": staged.spool.height,
            "kept": kept.spool.height,
            "dropped": dict(sorted(kept.dropped.items())),
            "interactions": num_rows,
            "users": _count(new / INTERACTIONS_FILE, "user_id"),
            "items": catalogue.items.height,
            "items_without_metadata": catalogue.without_metadata,
            "watermark": _newest(kept.watermark, self._old),
            "features": {name: found._asdict() for name, found in features.items()},
        }
        record = self._record(understood, kept, result)
        (new / RECORD_FILE).write_text(record.to_json(), encoding="utf-8")
        check_finished(new, request_folder=self._request.folder, num_rows=num_rows)
        return result

    def _features(self, layout: Layout, table: pl.DataFrame | None, ids: pl.Series) -> dict[str, Any]:
        """Those of the source, and those that the folder has already."""
        folder = self._build.new / "features"
        carried: dict[str, Any] = {}
        items_file = self._build.target / ITEMS_FILE
        if items_file.is_file():
            old_ids = pl.read_parquet(items_file, columns=["item_id"], glob=False, hive_partitioning=False)["item_id"]
            carried = dict(carry_features(self._build.target, old_ids, ids, folder))
        if layout.features and table is not None:
            numbered = pl.Series("item_id", [str(row) for row in range(table.height)])
            for modality, file in layout.features.items():
                with file.local(self._scratch) as path:
                    carried |= write_features({modality: path}, numbered, ids, folder)
        return carried

    def _record(self, understood: Understood, kept: KeptLog, result: dict[str, Any]) -> ImportRecord:
        request, old = self._request, self._old
        sources = request.recorded_sources or tuple(
            {"source": shown(source)} for source in (request.source.log, request.source.items) if source is not None
        )
        entry = {"sources": list(sources), **{name: result[name] for name in ("read", "kept", "dropped", "watermark")}}
        filters = request.filters
        return ImportRecord(
            source_format=understood.layout.format,
            mapping=dict(understood.layout.mapping),
            items_mapping=dict(understood.items_mapping) or ({} if old is None else old.items_mapping),
            time_unit=kept.time_unit or request.time_unit,
            time_format=request.time_format,
            watermark=result["watermark"],
            min_rating=filters.min_rating,
            k_core=None if filters.k_core is None else list(filters.k_core),
            split=filters.split,
            delimiter=request.source.delimiter,
            category_delimiter=request.source.category_delimiter,
            unknown_items=filters.unknown_items,
            drop_bad_rows=filters.drop_bad_rows,
            imports=[*(old.imports if old is not None else []), entry],
        )


def _newest(found: int | None, old: ImportRecord | None) -> int | None:
    known = [value for value in (found, None if old is None else old.watermark) if value is not None]
    return max(known) if known else None


def _count(path: Path, column: str) -> int:
    rows = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    return int(rows.select(pl.col(column).n_unique()).collect(engine="streaming").item())
