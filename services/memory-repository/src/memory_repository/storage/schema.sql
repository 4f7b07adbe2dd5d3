-- Versioned memory: rows on timelines, read as of a commit (MVCC). A branch is a name for a commit; a line is where
-- rows are stored. A commit appends rows to the line of its parent, or to a new line that forks there. What a commit
-- sees of a memory is the newest row at or below its sequence on its own line, else on the line that one forked
-- from, and so on: `lineage` holds that chain for every line, nearest first, with the sequence to read up to.
--
-- Written for SQLite; thymos.postgresql.dialect puts it into PostgreSQL's words.

CREATE TABLE IF NOT EXISTS repository (
    repo_id     INTEGER PRIMARY KEY,
    tenant      TEXT NOT NULL,
    agent       TEXT NOT NULL,
    key         BLOB NOT NULL,              -- of the salts; never leaves the store
    created_at  TEXT NOT NULL,
    UNIQUE (tenant, agent)
);

CREATE TABLE IF NOT EXISTS line (
    line_id   INTEGER PRIMARY KEY,
    repo_id   INTEGER NOT NULL REFERENCES repository,
    owner     TEXT NOT NULL,                -- the branch that extends this line; others fork from it
    tip_seq   INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS lineage (
    line_id   INTEGER NOT NULL REFERENCES line,
    depth     INTEGER NOT NULL,             -- 1 = the line that it forked from
    anc_line  INTEGER NOT NULL REFERENCES line,
    max_seq   INTEGER NOT NULL,
    PRIMARY KEY (line_id, depth)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS lineage_by_ancestor ON lineage (anc_line, max_seq);

CREATE TABLE IF NOT EXISTS commits (
    commit_no   INTEGER PRIMARY KEY,
    commit_id   TEXT NOT NULL,
    repo_id     INTEGER NOT NULL REFERENCES repository,
    line_id     INTEGER NOT NULL REFERENCES line,
    seq         INTEGER NOT NULL,
    generation  INTEGER NOT NULL,           -- 1 + the highest of its parents
    delta       TEXT NOT NULL,              -- hash of the changes against the first parent
    state_id    TEXT NOT NULL,              -- the short name of `state`
    author      TEXT NOT NULL,
    at          TEXT NOT NULL,
    message     TEXT NOT NULL,
    kind        TEXT NOT NULL,
    meta        TEXT NOT NULL,
    changes     INTEGER NOT NULL,
    memories    INTEGER NOT NULL,           -- visible memories, and their words: what ranking needs
    words       INTEGER NOT NULL,
    state       BLOB NOT NULL,              -- fingerprint of everything visible, or empty (storage/states.py); last: it is long
    UNIQUE (repo_id, commit_id),
    UNIQUE (line_id, seq)
);

CREATE INDEX IF NOT EXISTS commits_in_order ON commits (repo_id, commit_no);

CREATE TABLE IF NOT EXISTS commit_parent (
    commit_no  INTEGER NOT NULL REFERENCES commits,
    position   INTEGER NOT NULL,
    parent_no  INTEGER NOT NULL REFERENCES commits,
    PRIMARY KEY (commit_no, position)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS commit_parent_by_parent ON commit_parent (parent_no);

CREATE TABLE IF NOT EXISTS version (
    version_id  INTEGER PRIMARY KEY,
    repo_id     INTEGER NOT NULL REFERENCES repository,
    memory_id   TEXT NOT NULL,
    hash        TEXT NOT NULL,
    salt        BLOB,                       -- NULL together with the three below once redacted
    content     TEXT,
    kind        TEXT,
    fields      TEXT,
    words       INTEGER NOT NULL,
    UNIQUE (repo_id, memory_id, hash)
);

CREATE INDEX IF NOT EXISTS versions_in_order ON version (repo_id, version_id);

CREATE TABLE IF NOT EXISTS entry (
    line_id     INTEGER NOT NULL REFERENCES line,
    memory_id   TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    version_id  INTEGER REFERENCES version, -- NULL = deleted
    commit_no   INTEGER NOT NULL,           -- who wrote this version first, through merges; in `commits`
    PRIMARY KEY (line_id, memory_id, seq)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS entry_by_sequence ON entry (line_id, seq);
CREATE INDEX IF NOT EXISTS entry_by_version ON entry (version_id, commit_no);

-- As of `seq` a line shows only versions above `above`, and those in `old_version` (storage/recent.py).
CREATE TABLE IF NOT EXISTS recent (
    line_id  INTEGER PRIMARY KEY REFERENCES line ON DELETE CASCADE,
    seq      INTEGER NOT NULL,
    above    INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS old_version (
    line_id     INTEGER NOT NULL REFERENCES line ON DELETE CASCADE,
    version_id  INTEGER NOT NULL,
    PRIMARY KEY (line_id, version_id)
) WITHOUT ROWID;

-- One row per distinct version, rowid = version_id. The words are cut by ranking.words, so that what the index finds
-- and what ranking counts are the same words; `ascii` then only has to split at the spaces.
CREATE VIRTUAL TABLE IF NOT EXISTS version_terms USING fts5 (
    words, content = '', tokenize = 'ascii'
);
--postgresql: CREATE TABLE IF NOT EXISTS version_words (
--postgresql:     version_id BIGINT PRIMARY KEY REFERENCES version, words TSVECTOR NOT NULL
--postgresql: );
--postgresql: CREATE INDEX IF NOT EXISTS version_words_index ON version_words USING gin (words);

CREATE TABLE IF NOT EXISTS embedding (
    version_id  INTEGER NOT NULL REFERENCES version ON DELETE CASCADE,
    model       TEXT NOT NULL,              -- its name and version: vectors of two models have nothing in common
    vector      BLOB NOT NULL,
    PRIMARY KEY (version_id, model)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS ref (
    repo_id     INTEGER NOT NULL REFERENCES repository,
    type        TEXT NOT NULL,              -- branch | tag | snapshot
    name        TEXT NOT NULL,
    commit_no   INTEGER NOT NULL REFERENCES commits,
    revision    INTEGER NOT NULL,           -- moves by compare-and-swap on this
    reason      TEXT NOT NULL,
    meta        TEXT NOT NULL,
    created_at  TEXT NOT NULL,
    PRIMARY KEY (repo_id, type, name)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS reflog (
    repo_id     INTEGER NOT NULL REFERENCES repository,
    type        TEXT NOT NULL,
    name        TEXT NOT NULL,
    at          TEXT NOT NULL,
    actor       TEXT NOT NULL,
    operation   TEXT NOT NULL,
    old_commit  INTEGER,                    -- in `commits`
    new_commit  INTEGER,
    reason      TEXT NOT NULL
);

--postgresql: ALTER TABLE reflog ADD COLUMN IF NOT EXISTS rowid BIGINT GENERATED BY DEFAULT AS IDENTITY;

CREATE INDEX IF NOT EXISTS reflog_by_name ON reflog (repo_id, type, name);
CREATE INDEX IF NOT EXISTS reflog_by_time ON reflog (repo_id, type, name, at);
CREATE INDEX IF NOT EXISTS reflog_ends ON reflog (repo_id, at) WHERE operation = 'delete';

CREATE TABLE IF NOT EXISTS worktree (
    repo_id      INTEGER NOT NULL REFERENCES repository,
    worktree_id  TEXT NOT NULL,
    branch       TEXT NOT NULL,
    base_commit  INTEGER NOT NULL REFERENCES commits,
    owner        TEXT NOT NULL,
    opened_at    TEXT NOT NULL,
    PRIMARY KEY (repo_id, worktree_id)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS staged (
    repo_id      INTEGER NOT NULL,
    worktree_id  TEXT NOT NULL,
    memory_id    TEXT NOT NULL,
    version_id   INTEGER REFERENCES version, -- NULL = deleted
    PRIMARY KEY (repo_id, worktree_id, memory_id),
    FOREIGN KEY (repo_id, worktree_id) REFERENCES worktree ON DELETE CASCADE
) WITHOUT ROWID;

-- Checkpoints of an agent's graph (operations/checkpointing.py): rows beside the memory, not memories, so that pruning
-- one takes its bytes back at once (docs/adr/0011).
CREATE TABLE IF NOT EXISTS checkpoint_thread (
    thread_no  INTEGER PRIMARY KEY,
    repo_id    INTEGER NOT NULL REFERENCES repository,
    thread     TEXT NOT NULL,
    namespace  TEXT NOT NULL,               -- of a subgraph; '' for the graph itself
    UNIQUE (repo_id, thread, namespace)
);

CREATE TABLE IF NOT EXISTS checkpoint (
    checkpoint_no  INTEGER PRIMARY KEY,     -- the order in which they were stored: ids need not grow
    thread_no      INTEGER NOT NULL REFERENCES checkpoint_thread,
    checkpoint_id  TEXT NOT NULL,
    parent_id      TEXT,
    generation     INTEGER NOT NULL,        -- which writes at its parent led to it: 0 for the parent's first child
    run            TEXT,
    unsettled      TEXT NOT NULL,           -- channels whose value has to be replayed from ancestors: a JSON list
    body_type      TEXT NOT NULL,
    body           BLOB NOT NULL,           -- everything but the values of the channels
    metadata_type  TEXT NOT NULL,
    metadata       BLOB NOT NULL,
    UNIQUE (thread_no, checkpoint_id)
);

CREATE INDEX IF NOT EXISTS checkpoint_in_order ON checkpoint (thread_no, checkpoint_no);
CREATE INDEX IF NOT EXISTS checkpoint_by_parent ON checkpoint (thread_no, parent_id);
CREATE INDEX IF NOT EXISTS checkpoint_by_run ON checkpoint (run);

-- Checkpoints whose run was deleted: they stay as long as another one has a channel that is replayed from them.
CREATE TABLE IF NOT EXISTS checkpoint_given_up (
    checkpoint_no  INTEGER PRIMARY KEY REFERENCES checkpoint ON DELETE CASCADE
);

-- A value once per repository, whoever holds it. Its first bytes and what is left over stand in `ends`, whole blocks
-- between them apart: a list that grows at its end shares the blocks of its beginning.
CREATE TABLE IF NOT EXISTS checkpoint_value (
    value_no  INTEGER PRIMARY KEY,
    repo_id   INTEGER NOT NULL REFERENCES repository,
    digest    BLOB NOT NULL,
    type      TEXT NOT NULL,
    blocks    INTEGER NOT NULL,
    ends      BLOB NOT NULL,
    UNIQUE (repo_id, digest)
);

CREATE TABLE IF NOT EXISTS checkpoint_block (
    block_no  INTEGER PRIMARY KEY,
    repo_id   INTEGER NOT NULL REFERENCES repository,
    digest    BLOB NOT NULL,
    data      BLOB NOT NULL,
    UNIQUE (repo_id, digest)
);

CREATE TABLE IF NOT EXISTS checkpoint_value_block (
    value_no  INTEGER NOT NULL REFERENCES checkpoint_value,
    position  INTEGER NOT NULL,
    block_no  INTEGER NOT NULL REFERENCES checkpoint_block,
    PRIMARY KEY (value_no, position)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS checkpoint_value_block_by_block ON checkpoint_value_block (block_no);

CREATE TABLE IF NOT EXISTS checkpoint_channel (
    checkpoint_no  INTEGER NOT NULL REFERENCES checkpoint,
    channel        TEXT NOT NULL,
    version        TEXT NOT NULL,
    value_no       INTEGER NOT NULL REFERENCES checkpoint_value,
    PRIMARY KEY (checkpoint_no, channel)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS checkpoint_channel_by_value ON checkpoint_channel (value_no);

CREATE TABLE IF NOT EXISTS checkpoint_write (
    thread_no      INTEGER NOT NULL REFERENCES checkpoint_thread,
    checkpoint_id  TEXT NOT NULL,           -- may come before the checkpoint does
    generation     INTEGER NOT NULL,        -- which child of the checkpoint it leads to
    task           TEXT NOT NULL,
    position       INTEGER NOT NULL,
    task_path      TEXT NOT NULL,
    channel        TEXT NOT NULL,
    value_no       INTEGER NOT NULL REFERENCES checkpoint_value,
    PRIMARY KEY (thread_no, checkpoint_id, generation, task, position)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS checkpoint_write_by_value ON checkpoint_write (value_no);

-- How long a version that expires is kept beyond what it says itself, because somebody read it: no part of the history.
CREATE TABLE IF NOT EXISTS memory_expiry (
    repo_id     INTEGER NOT NULL REFERENCES repository,
    memory_id   TEXT NOT NULL,
    commit_id   TEXT NOT NULL,              -- the commit that wrote the version
    expires_us  INTEGER NOT NULL,           -- microseconds since 1970, UTC
    PRIMARY KEY (repo_id, memory_id, commit_id)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS memory_expiry_by_time ON memory_expiry (repo_id, expires_us);

CREATE INDEX IF NOT EXISTS staged_by_version ON staged (version_id);

-- Retention (operations/collecting.py, docs/memory-upkeep.md). A commit that goes leaves its line. If something that is
-- still visible was written by it, its header stays: the row moves to the repository's attic, a line that holds no
-- entries, so that who wrote a memory, when and why, stays known.
CREATE TABLE IF NOT EXISTS attic (
    repo_id  INTEGER PRIMARY KEY REFERENCES repository,
    line_id  INTEGER NOT NULL REFERENCES line
);

CREATE TABLE IF NOT EXISTS header_only (
    commit_no  INTEGER PRIMARY KEY REFERENCES commits,
    versions   INTEGER NOT NULL             -- of those that it wrote, how many are still somewhere visible
);

-- Whoever lost a parent: the ids of all its parents, as they are part of its own id. `commit_parent` then has the
-- nearest ancestors that are left.
CREATE TABLE IF NOT EXISTS cut_parent (
    commit_no  INTEGER NOT NULL REFERENCES commits,
    position   INTEGER NOT NULL,
    parent_id  TEXT NOT NULL,
    PRIMARY KEY (commit_no, position)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS retention (
    repo_id    INTEGER PRIMARY KEY REFERENCES repository,
    cursor_no  INTEGER NOT NULL             -- commits before it have been looked at; those of them that stay are `held`
);

CREATE INDEX IF NOT EXISTS retention_by_cursor ON retention (cursor_no);

-- Versions up to this number have been looked at for whether anything names them (storage/versions.py).
CREATE TABLE IF NOT EXISTS swept (
    repo_id     INTEGER PRIMARY KEY REFERENCES repository,
    version_no  INTEGER NOT NULL
);

CREATE INDEX IF NOT EXISTS swept_by_version ON swept (version_no);

CREATE TABLE IF NOT EXISTS held (
    repo_id    INTEGER NOT NULL REFERENCES repository,
    commit_no  INTEGER NOT NULL,
    PRIMARY KEY (repo_id, commit_no)
) WITHOUT ROWID;

-- Commits that a ref has named, and moved away from other than onwards: they count as named for a while.
CREATE TABLE IF NOT EXISTS left_behind (
    repo_id    INTEGER NOT NULL REFERENCES repository,
    commit_no  INTEGER NOT NULL,
    at         TEXT NOT NULL,
    PRIMARY KEY (repo_id, commit_no)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS dropping (       -- the commits that one step drops; empty between transactions
    commit_no  INTEGER PRIMARY KEY
);

-- What was erased, by whom and why (operations/redacting.py). The version's row stays: its hash is part of the chain.
CREATE TABLE IF NOT EXISTS redaction (
    redaction_id  INTEGER PRIMARY KEY,
    repo_id       INTEGER NOT NULL REFERENCES repository,
    memory_id     TEXT NOT NULL,
    hash          TEXT NOT NULL,
    at            TEXT NOT NULL,
    actor         TEXT NOT NULL,
    reason        TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS redaction_by_memory ON redaction (repo_id, memory_id);

-- Bytes that were erased may still lie in the word index and in the log (storage/erasing.py): how far that has come.
CREATE TABLE IF NOT EXISTS erasing (
    singleton  INTEGER PRIMARY KEY,         -- 1
    phase      INTEGER NOT NULL
);

-- A merge that waits for decisions. What collides is not stored but computed again from the commits, so that nothing of
-- a memory is kept twice; both commits are roots of what is reachable.
CREATE TABLE IF NOT EXISTS open_merge (
    repo_id        INTEGER NOT NULL REFERENCES repository,
    merge_id       TEXT NOT NULL,
    source         TEXT NOT NULL,           -- as it was named
    target         TEXT NOT NULL,           -- the branch
    source_commit  INTEGER NOT NULL REFERENCES commits,
    target_commit  INTEGER NOT NULL REFERENCES commits, -- the target's head when this was planned last
    strategy       TEXT NOT NULL,
    state          TEXT NOT NULL,           -- open | awaiting_model | awaiting_approval
    revision       INTEGER NOT NULL,        -- counts its changes; who answers names the one that was asked about
    author         TEXT NOT NULL,
    opened_at      TEXT NOT NULL,
    message        TEXT NOT NULL,
    reason         TEXT NOT NULL,           -- why it is in this state
    meta           TEXT NOT NULL,
    PRIMARY KEY (repo_id, merge_id),
    UNIQUE (repo_id, source, target)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS open_conflict (
    repo_id      INTEGER NOT NULL,
    merge_id     TEXT NOT NULL,
    memory_id    TEXT NOT NULL,
    fingerprint  TEXT NOT NULL,             -- of base, ours, theirs and what collides: decisions hold while it is this
    parts        INTEGER NOT NULL,          -- how many conflicts it is
    decided      INTEGER NOT NULL,          -- how many of them are decided
    resolutions  TEXT NOT NULL,             -- by part; may hold a memory's content: redaction empties it to {}
    PRIMARY KEY (repo_id, merge_id, memory_id),
    FOREIGN KEY (repo_id, merge_id) REFERENCES open_merge ON DELETE CASCADE
) WITHOUT ROWID;

-- Branches that are not deleted, and into which no model merges without a person's approval.
CREATE TABLE IF NOT EXISTS protected_branch (
    repo_id       INTEGER NOT NULL REFERENCES repository,
    branch        TEXT NOT NULL,
    actor         TEXT NOT NULL,
    protected_at  TEXT NOT NULL,
    reason        TEXT NOT NULL,
    PRIMARY KEY (repo_id, branch)
) WITHOUT ROWID;

-- How numbers in the fields of this repository's memories merge (core/number_rules.py).
CREATE TABLE IF NOT EXISTS number_rule (
    repo_id  INTEGER NOT NULL REFERENCES repository,
    path     TEXT NOT NULL,
    rule     TEXT NOT NULL,
    PRIMARY KEY (repo_id, path)
) WITHOUT ROWID;
