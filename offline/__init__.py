"""The jobs: read data, train, assign Rec-IDs, evaluate, export, publish. Run `python -m offline --help`."""
