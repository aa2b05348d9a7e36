"""What this host is, and who else works on it."""
