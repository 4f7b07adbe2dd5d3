"""Settings that are each allowed but not together."""

from decimal import Decimal
from pathlib import Path

import pytest

from thymos.config import SuccessCriteria, Versioning, load
from thymos.errors import ConfigError


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load(Path("thymos.toml"), {}, text)
    return str(error.value).splitlines()


class TestContradictions:
    @pytest.mark.parametrize(
        ("section", "lines", "message"),
        [
            (
                "worktree_scaling",
                "min_worktrees = 11",
                "worktree_scaling.min_worktrees: 11 is more than max_worktrees (10)",
            ),
            (
                "worktree_scaling",
                "scale_down_threshold = 0.9",
                "worktree_scaling.scale_down_threshold: 0.9 must be below scale_up_threshold (0.9): "
                "between them the number of worktrees rests",
            ),
            (
                "success_criteria",
                "min_success_rate = 0.5",
                "success_criteria.min_success_rate: 0.5 must be above the failure criteria's min_success_rate (0.5)",
            ),
            (
                "failure_criteria",
                "max_error_rate = 0.001",
                "success_criteria.max_error_rate: 0.01 must be at most the failure criteria's max_error_rate (0.001)",
            ),
            (
                "success_criteria",
                'max_response_time = "1m"',
                'success_criteria.max_response_time: "1m" must be at most '
                'the failure criteria\'s max_response_time ("10s")',
            ),
            (
                "experiments",
                'task_timeout = "1h"',
                'experiments.task_timeout: "1h" is longer than experiment_timeout ("30m"): no task could time out',
            ),
        ],
    )
    def test_are_reported_at_the_line_that_is_written(self, section: str, lines: str, message: str) -> None:
        assert problems(f"[supervisor.versioning.{section}]\n{lines}") == [
            f"thymos.toml:2: supervisor.versioning.{message}"
        ]

    def test_a_rule_may_not_scale_beyond_the_limits(self) -> None:
        rule = (
            "[[supervisor.versioning.rules]]\nname = 'r'\naction = {type = 'ScaleWorktrees', target_count = 11}\n"
            "condition = {type = 'NewStrategyAvailable'}\n"
        )
        assert problems(rule) == [
            "thymos.toml:3: supervisor.versioning.rules[0].action.target_count: "
            "11 is not within min_worktrees (1) and max_worktrees (10)"
        ]

    def test_criteria_of_a_rule_are_held_against_those_of_the_file(self) -> None:
        rule = (
            "[[supervisor.versioning.rules]]\nname = 'r'\naction = {type = 'Rollback'}\n"
            "condition = {type = 'FailureCriteriaMet', criteria = {min_success_rate = 0.95}}\n"
        )
        assert problems(rule) == [
            "thymos.toml:4: supervisor.versioning.success_criteria.min_success_rate: "
            "0.9 must be above the failure criteria's min_success_rate (0.95)"
        ]

    def test_an_experiment_needs_processes(self) -> None:
        assert problems("[agents.a]\nscenario = 'tasks.jsonl'") == [
            "thymos.toml:1: agents.a: a scenario needs a command: "
            "worktree-scaler starts one process per arm to answer it"
        ]

    def test_they_are_found_beside_other_problems_but_not_against_a_wrong_value(self) -> None:
        text = """
            [supervisor.versioning.worktree_scaling]
            min_worktrees = 50
            max_worktrees = "many"
            scale_down_threshold = 0.95
            """
        assert problems(text) == [
            "thymos.toml:4: supervisor.versioning.worktree_scaling.max_worktrees: "
            'expected a whole number from 1 to 1000; got "many"',
            "thymos.toml:5: supervisor.versioning.worktree_scaling.scale_down_threshold: 0.95 must be below "
            "scale_up_threshold (0.9): between them the number of worktrees rests",
        ]

    def test_they_are_found_in_the_rules_that_are_not_wrong_otherwise(self) -> None:
        rule = "[[supervisor.versioning.rules]]\nname = 'r'\ncondition = {type = 'NewStrategyAvailable'}\n"
        text = (
            f"{rule}action = {{type = 'ScaleWorktrees', target_count = 'x'}}\n"
            f"{rule}action = {{type = 'ScaleWorktrees', target_count = 99}}\n"
        )
        assert problems(text) == [
            "thymos.toml:4: supervisor.versioning.rules[0].action.target_count: "
            'expected a whole number from 0 to 1000; got "x"',
            "thymos.toml:8: supervisor.versioning.rules[1].action.target_count: "
            "99 is not within min_worktrees (1) and max_worktrees (10)",
        ]

    def test_they_are_found_in_settings_made_in_python_too(self) -> None:
        with pytest.raises(ValueError, match=r"min_success_rate: 0\.4 must be above"):
            Versioning(success_criteria=SuccessCriteria(min_success_rate=Decimal("0.4")))
