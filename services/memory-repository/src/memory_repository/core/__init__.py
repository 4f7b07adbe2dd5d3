"""The pure part: values, hashes, merging, ranking. No clock, no ids, no randomness, no I/O."""
