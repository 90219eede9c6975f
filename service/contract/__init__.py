"""What the offline writer and the online reader must agree on. The reader owns the format; needs numpy alone."""
