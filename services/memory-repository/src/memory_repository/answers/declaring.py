"""What the service answers about protected branches and rules for numbers."""

from __future__ import annotations

from memory_repository.core.number_rules import NumberRule
from memory_repository.handlers import found, opened
from memory_repository.operations import declaring
from memory_repository.operations.declaring import Protection
from thymos import events, requests
from thymos.service import Endpoint
from thymos.unit_of_work import Transaction


def branch_protect(request: requests.ProtectBranch, tx: Transaction) -> requests.BranchAnswer:
    """`branch_protect`."""
    done = declaring.protect(found(tx), request.branch, actor=request.by, now=tx.now, reason=request.reason)
    if done.changed:
        tx.publish(events.BranchProtected(branch=request.branch, by=request.by, reason=request.reason))
    return _branch(done)


def branch_unprotect(request: requests.UnprotectBranch, tx: Transaction) -> requests.BranchAnswer:
    """`branch_unprotect`."""
    done = declaring.unprotect(found(tx), request.branch)
    if done.changed:
        tx.publish(events.BranchUnprotected(branch=request.branch, by=request.by, reason=request.reason))
    return _branch(done)


def number_rules(request: requests.ReadNumberRules, tx: Transaction) -> requests.NumberRulesAnswer:
    """`number_rules`."""
    del request
    return _rules(declaring.number_rules(found(tx)))


def number_rule(request: requests.DeclareNumberRule, tx: Transaction) -> requests.NumberRulesAnswer:
    """`number_rule`."""
    return _rules(declaring.declare_number_rule(opened(tx), request.path, request.rule))


def _branch(done: Protection) -> requests.BranchAnswer:
    return requests.BranchAnswer(branch=done.branch, commit=done.commit.id, protected=done.protected)


def _rules(rules: dict[str, NumberRule]) -> requests.NumberRulesAnswer:
    return requests.NumberRulesAnswer.model_validate({"rules": {path: rule.value for path, rule in rules.items()}})


ENDPOINTS = (
    Endpoint("branch_protect", requests.ProtectBranch, branch_protect),
    Endpoint("branch_unprotect", requests.UnprotectBranch, branch_unprotect),
    Endpoint("number_rules", requests.ReadNumberRules, number_rules),
    Endpoint("number_rule", requests.DeclareNumberRule, number_rule),
)
