"""The report of a run: one HTML file that needs nothing else, written at the end of `train` and by the `report` job."""

from offline.reporting.report import REPORT_FILE, report_at_end, write_report
from offline.reporting.served import Served

__all__ = ["REPORT_FILE", "Served", "report_at_end", "write_report"]
