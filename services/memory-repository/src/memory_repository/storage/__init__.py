"""Where it is kept: rows on timelines, commits, refs, versions. Works inside the caller's transaction."""
