"""Other formats into a dataset folder (design, section 3): the jobs `import` and `fetch`. Streaming: no log is too large."""
