"""The catalogue's cases, made for real on a host of the lab: one module for each family."""
