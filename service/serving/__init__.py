"""From a request to an answer: admission, queue, prepare, decode, resolve, explain."""
