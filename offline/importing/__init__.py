"""Other formats into a dataset folder (design, section 3), streaming: the jobs `import` and `fetch`."""
