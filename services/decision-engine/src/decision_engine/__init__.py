"""Decides: rules, experiments, evidence, the watch over main."""
