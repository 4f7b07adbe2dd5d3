"""Measures: turns telemetry into windows, baselines and outcome rows."""
