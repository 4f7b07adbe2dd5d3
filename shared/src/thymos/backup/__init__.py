"""Backup and restore of a whole suite while it runs: every service's store and every stream, as of one moment.

What makes the copies fit together stands in docs/backup.md.
"""
