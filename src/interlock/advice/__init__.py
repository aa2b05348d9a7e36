"""Who is affected: advisory rules about known defects of updates, as data, and the language of their conditions."""
