"""The job `try`: a log of one's own, simple peers beside MMGRec, and a verdict in plain words."""
