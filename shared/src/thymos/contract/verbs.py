"""The requests that the services answer: where, and with what."""

from typing import NamedTuple

from thymos import requests, subjects


class Verb(NamedTuple):
    """A request that a service answers, for those who ask."""

    service: str
    name: str
    request: type[requests.Request]
    answer: type[requests.Answer]

    @property
    def subject(self) -> str:
        """Where it is asked."""
        return subjects.request_subject(self.service, "<tenant>", "<agent>", self.name)


def _verbs(service: str, **verbs: tuple[type[requests.Request], type[requests.Answer]]) -> tuple[Verb, ...]:
    return tuple(Verb(service, name, *pair) for name, pair in verbs.items())


VERBS = (
    *_verbs(
        subjects.MEMORY_REPOSITORY,
        get=(requests.GetMemory, requests.Memory),
        list=(requests.ListMemories, requests.MemoryPage),
        search=(requests.SearchMemories, requests.SearchAnswer),
        commit=(requests.CommitChanges, requests.CommitAnswer),
        log=(requests.ReadLog, requests.LogAnswer),
        show=(requests.ShowCommit, requests.ShowAnswer),
        diff=(requests.DiffRefs, requests.DiffAnswer),
        branches=(requests.ListBranches, requests.BranchesAnswer),
        branch_create=(requests.NewBranch, requests.BranchAnswer),
        branch_delete=(requests.RemoveBranch, requests.BranchAnswer),
        branch_protect=(requests.ProtectBranch, requests.BranchAnswer),
        branch_unprotect=(requests.UnprotectBranch, requests.BranchAnswer),
        merge=(requests.Merge, requests.MergeAnswer),
        merges=(requests.ListMerges, requests.MergesAnswer),
        merge_show=(requests.ShowMerge, requests.KeptMergeAnswer),
        merge_resolve=(requests.ResolveConflict, requests.MergeSummary),
        merge_continue=(requests.ContinueMerge, requests.MergeAnswer),
        merge_approve=(requests.ApproveMerge, requests.MergeAnswer),
        merge_abort=(requests.AbortMerge, requests.MergeSummary),
        number_rules=(requests.ReadNumberRules, requests.NumberRulesAnswer),
        number_rule=(requests.DeclareNumberRule, requests.NumberRulesAnswer),
        rollback=(requests.Rollback, requests.CommitAnswer),
        snapshot=(requests.Snapshot, requests.SnapshotAnswer),
        worktree_open=(requests.OpenWorktree, requests.WorktreeAnswer),
        worktree_stage=(requests.StageChanges, requests.WorktreeAnswer),
        worktree_commit=(requests.CommitWorktree, requests.CommitAnswer),
        worktree_close=(requests.CloseWorktree, requests.WorktreeAnswer),
        worktrees=(requests.ListWorktrees, requests.WorktreesAnswer),
        staged=(requests.ReadStaged, requests.StagedAnswer),
        history=(requests.ReadHistory, requests.HistoryAnswer),
        blame=(requests.ReadBlame, requests.BlameAnswer),
        merge_base=(requests.ReadMergeBase, requests.LogAnswer),
        bisect=(requests.Bisect, requests.BisectAnswer),
        cherry_pick=(requests.CherryPick, requests.CommitAnswer),
        revert=(requests.Revert, requests.CommitAnswer),
        rebase=(requests.Rebase, requests.RebaseAnswer),
        branch_rename=(requests.RenameBranch, requests.BranchAnswer),
        reflog=(requests.ReadReflog, requests.ReflogAnswer),
        tags=(requests.ListTags, requests.NamedCommitsAnswer),
        tag_create=(requests.NewTag, requests.NamedCommit),
        tag_delete=(requests.RemoveTag, requests.NamedCommit),
        snapshots=(requests.ListSnapshots, requests.NamedCommitsAnswer),
        snapshot_delete=(requests.RemoveSnapshot, requests.NamedCommit),
        export=(requests.ExportHistory, requests.ExportAnswer),
        import_standing=(requests.ReadImport, requests.ImportAnswer),
        import_abandon=(requests.AbandonImport, requests.ImportAnswer),
        **{"import": (requests.ImportHistory, requests.ImportAnswer)},
        gc=(requests.CollectGarbage, requests.CollectedAnswer),
        verify=(requests.VerifyMemory, requests.VerifiedAnswer),
        redact=(requests.RedactMemory, requests.RedactedAnswer),
        redactions=(requests.ListRedactions, requests.RedactionsAnswer),
    ),
    *_verbs(
        subjects.METRICS_COLLECTOR,
        metrics=(requests.ReadMetrics, requests.MetricsAnswer),
        agents=(requests.ListAgents, requests.AgentsAnswer),
    ),
    *_verbs(
        subjects.DECISION_ENGINE,
        experiments=(requests.ListExperiments, requests.ExperimentsAnswer),
        experiment=(requests.ReadExperiment, requests.ExperimentRecord),
        decisions=(requests.ListDecisions, requests.DecisionsAnswer),
        stats=(requests.ReadStats, requests.VersioningMetrics),
        seal=(requests.SealLog, requests.LogSealed),
    ),
    *_verbs(
        subjects.WORKTREE_SCALER,
        worktrees=(requests.ListAgentWorktrees, requests.AgentWorktreesAnswer),
        agents=(requests.ListFleets, requests.FleetsAnswer),
        scenario=(requests.ReadScenario, requests.ScenarioAnswer),
    ),
)
