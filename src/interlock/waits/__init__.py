"""No hang without a name: facts, the wait graph, the diagnosis and the cure, each a layer of its own."""
