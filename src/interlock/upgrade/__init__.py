"""Promise 1: a host is old or new, never between."""
