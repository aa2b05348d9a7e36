"""Promise 3: nobody can hurt an upgrade, and it hurts nobody."""
