"""Bodies of requests and responses, as the API documents them; one file per group of routes."""
