"""What can be done with a repository: one module per group of verbs, each inside the caller's transaction."""
