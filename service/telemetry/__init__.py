"""What is told of requests: metrics, log lines, traces; and what is kept out of them."""
