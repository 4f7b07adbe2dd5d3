"""Acts: agent processes in worktrees, scenario tasks, scaling."""
