"""The support bundle: all that somebody needs who has to help with a host, with its secrets removed."""
