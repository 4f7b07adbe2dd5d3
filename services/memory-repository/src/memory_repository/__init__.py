"""Remembers: a versioned store of agent memory."""
