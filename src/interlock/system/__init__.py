"""The only doors to the kernel, to processes and to time. Thin: no policy lives here."""
