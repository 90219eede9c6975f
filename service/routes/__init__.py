"""The HTTP routes, one file per group; each has a `router` that `service.app` includes."""
