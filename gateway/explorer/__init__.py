"""The explorer: GraphiQL served by the gateway itself, with examples for each kind of caller."""
