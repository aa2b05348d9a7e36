"""The command line: knows verbs and events, not the engine's inside."""
