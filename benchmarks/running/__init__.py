"""What the benchmarks of the service start: it and its Redis as processes of their own, and a release to serve."""
